"""AWS for launch: every call is printed, and what goes wrong is one line."""

from __future__ import annotations

import json
import os
import sys
from typing import Any

from pack import Refused


class Aws:
    """Every call is printed; a dry run makes none, and answers with what is pretended. Raises Refused."""

    def __init__(self, dry_run: bool) -> None:
        self.dry_run = dry_run
        asked = os.environ.get("AWS_REGION") or os.environ.get("AWS_DEFAULT_REGION")  # as the AWS CLI reads them
        try:
            import boto3
            from botocore.exceptions import BotoCoreError
        except ImportError:
            if not dry_run:
                raise Refused(f"{sys.executable} has no boto3: use the Python that has holdfast") from None
            found = asked
        else:
            try:
                self._session = boto3.session.Session(region_name=asked)
            except BotoCoreError as error:  # a profile that is not there
                raise Refused(str(error)) from None
            found = self._session.region_name
        if found is None and not dry_run:
            raise Refused("no region: set AWS_REGION, or region in ~/.aws/config")
        self.region: str = found or "us-east-1"
        pretended = "" if found else ", as none is set: a launch needs AWS_REGION, or region in ~/.aws/config"
        print(f"region {self.region}{pretended}", flush=True)

    def call(self, service: str, operation: str, pretended: Any = None, **given: Any) -> Any:
        """The answer. A Refused has AWS's code for the error, which ``code_of`` reads."""
        shown = " ".join(f"{name}={_short(value)}" for name, value in given.items())
        print(f"  {service} {operation} {shown}".rstrip(), flush=True)
        if self.dry_run:
            return pretended
        from botocore.exceptions import BotoCoreError, ClientError
        from botocore.parsers import ResponseParserError

        try:
            return getattr(self._session.client(service), operation)(**given)
        except ClientError as error:
            raise Refused(f"{service} {operation}: {in_one_line(error)}", error.response["Error"]) from None
        except (BotoCoreError, ResponseParserError) as error:
            raise Refused(f"{service} {operation}: {in_one_line(error)}") from None

    def wait(self, stack: str, until: str) -> None:
        """``until`` is a waiter of CloudFormation's."""
        print(f"  cloudformation wait {until} StackName={stack}", flush=True)
        if self.dry_run:
            return
        from botocore.exceptions import BotoCoreError, WaiterError

        try:
            self._session.client("cloudformation").get_waiter(until).wait(StackName=stack)
        except WaiterError as error:
            raise Refused(f"the stack was not made as asked: {error}; {self._reasons(stack)}") from None
        except BotoCoreError as error:
            raise Refused(f"the stack {stack} is being made, and AWS no longer answers: {error}") from None

    def _reasons(self, stack: str) -> str:
        events = self.call("cloudformation", "describe_stack_events", StackName=stack)["StackEvents"]
        failed = [event for event in events if event["ResourceStatus"].endswith("_FAILED")]
        said = [f"{event['LogicalResourceId']}: {event.get('ResourceStatusReason', 'no reason')}" for event in failed]
        return "; ".join(reversed(said[:5])) or "see its events in the console"


def in_one_line(error: Exception) -> str:
    text = " ".join(str(error).split())
    return text if len(text) < 600 else f"{text[:600]}…"  # it may hold a page that is no answer of AWS


def _short(value: Any) -> str:
    if hasattr(value, "read"):
        return f"({os.fstat(value.fileno()).st_size:,} bytes)"
    if not isinstance(value, str):
        return json.dumps(value)
    return value if len(value) < 2000 else f"({len(value):,} characters)"  # of the template


def code_of(error: Refused) -> str:
    """AWS's code for the error, or ''."""
    return str(error.args[1]["Code"]) if len(error.args) > 1 else ""
