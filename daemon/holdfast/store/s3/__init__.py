"""Amazon S3 and compatible stores. Loaded only by those who use one: it imports boto3."""

from .s3_store import SMALL_TIMEOUT, S3Store

__all__ = ["SMALL_TIMEOUT", "S3Store"]
