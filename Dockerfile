# holdfast as PID 1, and a training beside it.
#
#   docker build -t my-training .
#   docker build -t my-training --build-arg BASE=tensorflow/tensorflow:2.21.0-gpu --build-arg EXTRAS= .
#   docker run --stop-timeout 120 -v runs:/runs my-training --store s3://bucket/runs --run digits -- python train.py
#
# BASE is any image with Python 3.11 or later. An image that brings its own TensorFlow takes no EXTRAS.
ARG BASE=python:3.11-slim

FROM ${BASE} AS build
ARG EXTRAS=[demo]
WORKDIR /source
RUN python3 -m venv --system-site-packages /opt/holdfast
COPY constraints.txt ./
COPY pyproject.toml README.md LICENSE ./
COPY daemon daemon
RUN /opt/holdfast/bin/pip install --no-cache-dir --constraint constraints.txt ".${EXTRAS}"

FROM ${BASE}
LABEL org.opencontainers.image.title="holdfast" \
      org.opencontainers.image.description="Keras trainings that outlive their machines" \
      org.opencontainers.image.licenses="Apache-2.0"
RUN useradd --create-home --uid 1000 holdfast && install -d -o holdfast -g holdfast /runs
COPY --from=build /opt/holdfast /opt/holdfast
ENV PATH=/opt/holdfast/bin:$PATH \
    HOLDFAST_WORK_DIR=/runs \
    PYTHONUNBUFFERED=1
USER holdfast
WORKDIR /runs
VOLUME /runs
# docker stop sends this and waits 10 s only: run with --stop-timeout 120.
STOPSIGNAL SIGTERM
ENTRYPOINT ["holdfast", "run"]
