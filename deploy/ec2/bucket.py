"""The bucket for code and checkpoints: made like the one of holdfast.yaml, and completed where an earlier launch was
interrupted. It outlives every stack.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from aws import Aws, code_of
from pack import Refused

UNSET = (
    "NoSuchPublicAccessBlockConfiguration",
    "NoSuchLifecycleConfiguration",
    "NoSuchBucketPolicy",
    "ServerSideEncryptionConfigurationNotFoundError",
)
"""S3's codes for a setting that nobody has made."""
BLOCKED = ("BlockPublicAcls", "BlockPublicPolicy", "IgnorePublicAcls", "RestrictPublicBuckets")


@dataclass(frozen=True)
class Setting:
    """``differs`` says of what S3 answers how it is not as wanted: '' if it is, None if nobody has set it."""

    of: str
    """As S3's operations call it, behind put_ and get_."""
    wanted: dict[str, Any]
    """For put_; empty if S3's own default is wanted."""
    differs: Callable[[dict[str, Any]], str | None]
    unset: str
    """What is to be said of a bucket without it."""


def make_bucket(aws: Aws, bucket: str, account: str, parameters: dict[str, str]) -> None:
    """``parameters`` are those that were given. A bucket that has objects is used as it is, and a line says what it
    lacks: others may rely on it. In one without objects, whatever nobody has set is set. Raises Refused.
    """
    of_it = {"Bucket": bucket, "ExpectedBucketOwner": account}
    settings = wanted(aws.region, bucket, parameters)
    if not is_there(aws, of_it):
        where = {} if aws.region == "us-east-1" else {"CreateBucketConfiguration": {"LocationConstraint": aws.region}}
        aws.call("s3", "create_bucket", Bucket=bucket, ObjectOwnership="BucketOwnerEnforced", **where)
        differences = [setting.wanted and put(aws, setting, of_it) for setting in settings]
    else:
        has_objects = aws.call("s3", "list_objects_v2", MaxKeys=1, **of_it).get("Contents")
        differences = [completed(aws, setting, of_it, not has_objects) for setting in settings]
    if said := "; ".join(filter(None, differences)):
        print(f"the bucket {bucket} is used as it is: {said}", flush=True)


def is_there(aws: Aws, of_it: dict[str, str]) -> bool:
    """Raises Refused where it cannot be used."""
    try:
        found = aws.call("s3", "head_bucket", **of_it)
    except Refused as error:
        if code_of(error) in ("404", "NoSuchBucket"):
            return False
        hint = f"is {of_it['Bucket']} another account's, or in another region? then choose one with --bucket"
        raise Refused(f"{error.args[0]}; {hint}" if code_of(error) else error.args[0]) from None
    region = (found or {}).get("BucketRegion") or aws.region
    if region != aws.region:
        raise Refused(
            f"the bucket {of_it['Bucket']} is in {region}, and the machines in {aws.region}: choose one with --bucket"
        )
    return not aws.dry_run


def put(aws: Aws, setting: Setting, of_it: dict[str, str]) -> str:
    aws.call("s3", f"put_{setting.of}", **setting.wanted, **of_it)
    return ""


def completed(aws: Aws, setting: Setting, of_it: dict[str, str], is_empty: bool) -> str:
    """How it differs now."""
    try:
        found = setting.differs(aws.call("s3", f"get_{setting.of}", **of_it))
    except Refused as error:
        if code_of(error) not in (*UNSET, "AccessDenied"):
            raise
        found = None
        if code_of(error) not in UNSET:
            found = f"its {setting.of.removeprefix('bucket_').replace('_', ' ')} cannot be looked at (AccessDenied)"
    if found is None and is_empty and setting.wanted:
        return put(aws, setting, of_it)
    return setting.unset if found is None else found


def wanted(region: str, bucket: str, parameters: dict[str, str]) -> list[Setting]:
    key, days = parameters.get("KmsKey", ""), int(parameters.get("NoncurrentDays", 3))
    by_default = {"SSEAlgorithm": "aws:kms", "KMSMasterKeyID": key}
    encrypted = {"Rules": [{"ApplyServerSideEncryptionByDefault": by_default, "BucketKeyEnabled": True}]}
    rules = [
        {"ID": "abort-unfinished-uploads", "AbortIncompleteMultipartUpload": {"DaysAfterInitiation": 2}},
        {"ID": "expire-wheels", "Filter": {"Prefix": "wheels/"}, "Expiration": {"Days": 30}},
        {
            "ID": "expire-noncurrent-versions",
            "NoncurrentVersionExpiration": {"NoncurrentDays": days},
            "Expiration": {"ExpiredObjectDeleteMarker": True},
        },
    ]
    rules = [{"Status": "Enabled", "Filter": {"Prefix": ""}, **rule} for rule in rules]
    arn = f"arn:{partition(region)}:s3:::{bucket}"
    tls = {
        "Sid": "OnlyOverTls",
        "Effect": "Deny",
        "Principal": "*",
        "Action": "s3:*",
        "Resource": [arn, f"{arn}/*"],
        "Condition": {"Bool": {"aws:SecureTransport": "false"}},
    }
    return [
        Setting(
            "public_access_block",
            {"PublicAccessBlockConfiguration": dict.fromkeys(BLOCKED, True)},
            lambda found: "" if all(found["PublicAccessBlockConfiguration"].values()) else "it may be made public",
            "it may be made public",
        ),
        Setting(
            "bucket_versioning",
            {"VersioningConfiguration": {"Status": "Enabled"}},
            lambda found: {"Enabled": "", None: None}.get(found.get("Status"), "its versions are suspended"),
            "it has no versions, so a removed checkpoint cannot be taken back",
        ),
        Setting(
            "bucket_encryption",
            {"ServerSideEncryptionConfiguration": encrypted} if key else {},
            lambda found: key_differs(found, key),
            "its objects are not encrypted with KmsKey" if key else "",
        ),
        Setting(
            "bucket_lifecycle_configuration",
            {"LifecycleConfiguration": {"Rules": rules}},
            lambda found: rules_differ(found, days if "NoncurrentDays" in parameters else None),
            "unfinished uploads, removed checkpoints and stored wheels stay in it, and cost",
        ),
        Setting(  # the last one: from here on a call without TLS is refused
            "bucket_policy",
            {"Policy": json.dumps({"Version": "2012-10-17", "Statement": [tls]})},
            lambda found: "" if "aws:SecureTransport" in found["Policy"] else "it takes calls without TLS",
            "it takes calls without TLS",
        ),
    ]


def key_differs(found: dict[str, Any], key: str) -> str | None:
    (rule, *_) = found["ServerSideEncryptionConfiguration"]["Rules"]
    default = rule.get("ApplyServerSideEncryptionByDefault", {})
    has = "" if default.get("SSEAlgorithm") == "AES256" else default.get("KMSMasterKeyID", "")
    if has.endswith(":alias/aws/s3") or has == "alias/aws/s3":  # Amazon's own, which asks for no rights
        has = ""
    if not has:
        return None if key else ""
    if not key:
        return f"its objects are encrypted with {has}: give it as KmsKey, or the machines cannot read them"
    return "" if has == key else f"its objects are encrypted with {has}, not with KmsKey"


def rules_differ(found: dict[str, Any], days: int | None) -> str:
    rules = [rule for rule in found["Rules"] if rule["Status"] == "Enabled"]
    old = [rule["NoncurrentVersionExpiration"] for rule in rules if "NoncurrentVersionExpiration" in rule]
    kept = [expiry["NoncurrentDays"] for expiry in old if "NoncurrentDays" in expiry]
    said = []
    if not kept:
        said.append("removed checkpoints stay in it, and cost")
    elif days is not None and days not in kept:
        said.append(f"removed checkpoints stay for {min(kept)} days, not NoncurrentDays={days}")
    if not any("AbortIncompleteMultipartUpload" in rule for rule in rules):
        said.append("unfinished uploads stay in it, and cost")
    return "; ".join(said)


def partition(region: str) -> str:
    return {"cn": "aws-cn", "us-gov": "aws-us-gov"}.get(region.rpartition("-")[0].rpartition("-")[0], "aws")
