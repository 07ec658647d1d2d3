"""What cures an answer that refuses a request, as far as a setting of holdfast's does.

S3 clients since 2025 send a checksum with each upload, in a header or behind the body. Some S3-compatible stores refuse
that, each with words of its own. A bucket's policy may refuse uploads that do not ask for encryption; the answer then
names the policy and not the header that it wants.
"""

from __future__ import annotations

from dataclasses import dataclass
from urllib.parse import urlsplit

TRANSIENT_CODES = {
    "ExpiredToken",
    "ExpiredTokenException",
    "RequestTimeout",
    "RequestTimeTooSkewed",
    "SlowDown",
    "Throttling",
    "ThrottlingException",
    "TooManyRequests",
    "ConditionalRequestConflict",  # two writes met and this one was not done: not the same as a condition that failed
    "OperationAborted",
    "NoSuchUpload",  # it was ended meanwhile, by an earlier try whose answer was lost, say: another try begins anew
}
"""Of answers that another try may not get."""

_CHECKSUM_WORDS = ("checksum", "x-amz-trailer", "aws-chunked", "unsigned-payload-trailer")
_CHECKSUM_STATUS = (400, 401, 411, 501)
_WRITES = ("PutObject", "CreateMultipartUpload", "UploadPart", "CompleteMultipartUpload")
_WHEN_REQUIRED = "set --request-checksum when_required"
_ENCRYPTION = (
    "the bucket's policy denies it: if that demands encryption, set --sse AES256 or --sse aws:kms, "
    "with --sse-kms-key-id if it demands a key"
)


@dataclass(frozen=True)
class Refusal:
    """An answer to a request. ``sums``: checksums were sent."""

    operation: str
    status: int
    code: str
    message: str
    sums: bool
    endpoint: str

    @property
    def remedy(self) -> str:
        """Empty where no setting is known to cure it."""
        if self.sums and self._about_checksums():
            return f"this store does not take the checksums of newer S3 clients: {_WHEN_REQUIRED}"
        if self.operation not in _WRITES:
            return ""
        if self.code == "AccessDenied" and "explicit deny" in self.message:
            return _ENCRYPTION
        if self.sums and self.status in _CHECKSUM_STATUS and not self._is_amazons():
            return f"if this store does not take the checksums of newer S3 clients, {_WHEN_REQUIRED}"
        return ""

    def _about_checksums(self) -> bool:
        return self.code != "BadDigest" and any(word in self.message.lower() for word in _CHECKSUM_WORDS)

    def _is_amazons(self) -> bool:
        host = urlsplit(self.endpoint).hostname or ""
        return host.endswith((".amazonaws.com", ".amazonaws.com.cn"))
