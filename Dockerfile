# holdfast as PID 1, and a training beside it. docs/containers.md says what each line is for.
#
#   docker build -t my-training .
#   docker build -t my-training --build-arg BASE=tensorflow/tensorflow:2.21.0-gpu --build-arg EXTRA= .
#   docker run --stop-timeout 120 -v runs:/runs my-training --store s3://bucket/runs --run digits -- python train.py
#
# BASE is any image with Python 3.11 or later and its pip. EXTRA names what is installed with holdfast (tensorflow,
# gpu); an image that brings its own TensorFlow takes none, and keeps the TensorFlow that it has.
ARG BASE=python:3.11-slim

FROM ${BASE} AS dependencies
ARG EXTRA=tensorflow
ENV PIP_NO_CACHE_DIR=1 PIP_DISABLE_PIP_VERSION_CHECK=1 PIP_ROOT_USER_ACTION=ignore PIP_CONSTRAINT=/source/constraints.txt
WORKDIR /source
COPY pyproject.toml constraints.txt ./
# An empty package stands in for holdfast: this layer, the large one, changes with the pins only, never with the code.
# The base's own pip installs, as images often lack what a virtual environment with a pip of its own needs. TensorFlow's
# C++ headers (430 MB) are for building extensions, and there is no compiler here.
RUN mkdir -p daemon/holdfast && touch daemon/holdfast/__init__.py README.md LICENSE \
 && python3 -m venv --system-site-packages --without-pip /opt/holdfast \
 && /opt/holdfast/bin/python -m pip install ".${EXTRA:+[$EXTRA]}" \
 && /opt/holdfast/bin/python -m pip uninstall --yes holdfast-train \
 && rm -rf /opt/holdfast/lib/python3*/site-packages/tensorflow/include

FROM dependencies AS package
COPY README.md LICENSE ./
COPY daemon daemon
RUN python3 -m pip wheel --no-deps --wheel-dir /wheel .

FROM ${BASE}
ARG BASE
LABEL org.opencontainers.image.title="holdfast" \
      org.opencontainers.image.description="Keras trainings that outlive their machines" \
      org.opencontainers.image.licenses="Apache-2.0" \
      org.opencontainers.image.base.name="${BASE}"
COPY --from=dependencies /opt/holdfast /opt/holdfast
COPY --chmod=0755 deploy/docker/entrypoint /opt/holdfast/bin/entrypoint
COPY --chmod=0755 deploy/docker/healthcheck.py /opt/holdfast/bin/healthcheck
RUN --mount=type=bind,from=package,source=/wheel,target=/wheel \
    /opt/holdfast/bin/python -m pip install --no-cache-dir --no-index --no-deps /wheel/*.whl \
 && useradd --uid 10001 --create-home holdfast \
 && install -d -o holdfast -g holdfast /runs /app
ENV PATH=/opt/holdfast/bin:$PATH \
    HOLDFAST_WORK_DIR=/runs \
    PYTHONUNBUFFERED=1
USER 10001:10001
# For the script of an image made from this one; not in the volume, which would hide it.
WORKDIR /app
VOLUME /runs
# docker stop sends this and waits for 10 s only, which no image can change: run with --stop-timeout 120.
STOPSIGNAL SIGTERM
HEALTHCHECK --interval=30s --timeout=15s --start-period=30s --retries=3 CMD ["healthcheck"]
ENTRYPOINT ["entrypoint"]
