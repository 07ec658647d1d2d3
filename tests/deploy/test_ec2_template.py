"""The template: correct by CloudFormation's own rules, and what comes of it on moto."""

from __future__ import annotations

import re
import subprocess
import sys
import tomllib
from datetime import UTC
from pathlib import Path
from typing import Any

import boto3
import pytest
from botocore.exceptions import ClientError
from click import Option

import holdfast
from fakes.aws import Door
from holdfast.cli.run import run
from holdfast.core.errors import Exit
from integration.daemons import SCRIPTS, Daemon

from .stacks import KEY, TEMPLATE, create, evaluate, properties, template, undecided


def words(*command: str, given: str = "") -> str:
    """What a command printed; it must succeed."""
    done = subprocess.run(command, input=given, capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout + done.stderr


def written_by(user_data: str, path: str) -> str:
    """The file that the user data writes from a here-document."""
    found = re.search(rf"cat >{re.escape(path)} <<'(\w+)'\n(.*?)^\1$", user_data, re.DOTALL | re.MULTILINE)
    assert found is not None, f"{path} is not written"
    return found[2]


def test_cfn_lint_finds_nothing() -> None:
    assert words(str(Path(sys.executable).with_name("cfn-lint")), "--", str(TEMPLATE)) == ""


def test_cloudformation_takes_it_as_it_is() -> None:
    assert len(TEMPLATE.read_bytes()) < 51200, "more has to be brought to S3 first"


def test_the_group_is_of_one_machine_over_several_types_and_zones(s3_server: str) -> None:
    group = undecided(s3_server).group()
    assert (group["MinSize"], group["DesiredCapacity"], group["MaxSize"]) == (0, 1, 1)
    assert len(group["AvailabilityZones"]) == 3
    policy = group["MixedInstancesPolicy"]
    assert policy["InstancesDistribution"]["SpotAllocationStrategy"] == "price-capacity-optimized"
    assert policy["InstancesDistribution"]["OnDemandPercentageAboveBaseCapacity"] == 0
    types = [override["InstanceType"] for override in policy["LaunchTemplate"]["Overrides"]]
    assert types == ["m7i.xlarge", "m7i-flex.xlarge"]


def test_all_machines_have_the_memory_that_was_asked_for_one_cpu_family_and_one_number_of_cpus(s3_server: str) -> None:
    """A replacement with less memory would fail where the first machine did not."""
    known = boto3.client("ec2", endpoint_url=s3_server)
    parameter, types = template()["Parameters"]["MemoryGiB"], template()["Mappings"]["TypesOfMemory"]
    assert parameter["AllowedValues"] == list(types)
    for size, pair in types.items():
        names = list(pair.values())
        assert all(re.match(r"[cmr]7i(z|-flex)?[.]", name) for name in names), "Sapphire Rapids"
        found = known.describe_instance_types(InstanceTypes=names)["InstanceTypes"]
        assert {entry["MemoryInfo"]["SizeInMiB"] for entry in found} == {int(size) * 1024}
        assert len({entry["VCpuInfo"]["DefaultVCpus"] for entry in found}) == 1
    overrides = create(s3_server, MemoryGiB="64").group()["MixedInstancesPolicy"]["LaunchTemplate"]["Overrides"]
    assert [override["InstanceType"] for override in overrides] == ["r7i.2xlarge", "r7iz.2xlarge"]


def test_a_machine_at_risk_trains_until_it_is_taken() -> None:
    """Auto Scaling would end it once the next one runs, which is long before that one is set up."""
    assert properties("Group")["CapacityRebalance"] is False


def test_an_update_of_the_stack_starts_no_machine_for_a_run_that_is_complete_or_paused() -> None:
    """Read from the template, as moto keeps no policies of updates."""
    policy = template()["Resources"]["Group"]["UpdatePolicy"]
    assert policy == {"AutoScalingScheduledAction": {"IgnoreUnmodifiedGroupSizeProperties": True}}


def test_auto_scaling_itself_ends_the_machine_at_a_given_time(s3_server: str) -> None:
    stack = create(s3_server, EndAt="2040-01-31T12:00:00Z")
    (action,) = stack.client("autoscaling").describe_scheduled_actions(AutoScalingGroupName=stack.name)[
        "ScheduledUpdateGroupActions"
    ]
    assert f"{action['StartTime'].astimezone(UTC):%Y-%m-%d %H}" == "2040-01-31 12"
    assert (action["MinSize"], action["DesiredCapacity"]) == (0, 0)
    assert "LastEnd" not in undecided(s3_server).resources


def test_every_description_of_a_port_is_one_that_ec2_takes() -> None:
    """It refuses an apostrophe, say, and cfn-lint does not look into conditions."""
    said = re.findall(
        r"^ +Description: ([^\n]+)$", TEMPLATE.read_text().partition("SecurityGroupEgress:")[2], re.MULTILINE
    )
    assert len(said) >= 4
    assert [text for text in said[:4] if not re.fullmatch(r"[a-zA-Z0-9. _\-:/()#,@\[\]+=&;{}!$*]{1,255}", text)] == []


def test_the_group_is_deleted_before_the_rights_that_its_drain_needs() -> None:
    assert set(template()["Resources"]["Group"]["DependsOn"]) >= {
        "CodePolicy",
        "KeyPolicy",
        "TellingPolicy",
        "LogPolicy",
    }


def test_a_machine_that_does_nothing_for_hours_is_ended_unless_failures_are_to_be_kept() -> None:
    """Read from the template, as moto makes neither alarms nor policies with a stack."""
    resources = template()["Resources"]
    alarm, policy = properties("DeadMachineAlarm"), properties("ScaleToNothing")
    assert alarm["AlarmActions"][0] == {"Ref": "ScaleToNothing"}
    assert alarm["Period"] * alarm["EvaluationPeriods"] == 6 * 3600
    assert (policy["AdjustmentType"], policy["ScalingAdjustment"]) == ("ExactCapacity", 0)
    assert {resources[name]["Condition"] for name in ("DeadMachineAlarm", "ScaleToNothing")} == {"EndsIdleMachines"}


@pytest.mark.parametrize(
    ("given", "ends"),
    [({}, "yes"), ({"OnFailure": "none"}, "no"), ({"Gpu": "yes", "InstanceType1": "g6.xlarge"}, "no")],
)
def test_a_training_on_a_gpu_is_not_ended_for_using_little_of_the_cpus(
    s3_server: str, given: dict[str, str], ends: str
) -> None:
    assert evaluate(s3_server, {"Fn::If": ["EndsIdleMachines", "yes", "no"]}, **given) == ends
    assert "Condition" not in template()["Resources"]["IdleMachineAlarm"], "the message comes all the same"


def test_with_an_address_the_topic_hears_of_launches_that_fail_and_machines_that_end(s3_server: str) -> None:
    stack = create(s3_server, AlarmEmail="me@host.example")
    (statement,) = stack.policies()["holdfast-telling"]["Statement"]
    assert statement["Action"] == "sns:Publish"
    assert f"topic='{stack.resources['AlarmTopic']}'" in stack.user_data()
    told = properties("Group")["NotificationConfigurations"]["Fn::If"][1][0]
    assert told["TopicARN"] == {"Ref": "AlarmTopic"}
    assert "autoscaling:EC2_INSTANCE_LAUNCH_ERROR" in told["NotificationTypes"]
    assert "topic=''" in undecided(s3_server).user_data()


def test_without_a_spot_machine_for_so_long_the_group_takes_one_at_the_full_price(
    s3_server: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The function's call is looked at, as moto wants a launch template in it; the alarm is read from the template."""
    stack = create(s3_server, OnDemandAfterMinutes="20")
    scope: dict[str, Any] = {}
    exec(properties("FallBack")["Code"]["ZipFile"], scope)  # noqa: S102
    with Door(s3_server, lambda call: True) as door:
        environment = {"GROUP": stack.name, "AWS_ENDPOINT_URL": door.endpoint, "AWS_MAX_ATTEMPTS": "1"}
        for name, value in environment.items():
            monkeypatch.setenv(name, value)
        with pytest.raises(ClientError):
            scope["handler"]({}, None)
    (call,) = door.calls
    assert (call.operation, dict(call.fields)["AutoScalingGroupName"]) == ("UpdateAutoScalingGroup", stack.name)
    price = "MixedInstancesPolicy.InstancesDistribution.OnDemandPercentageAboveBaseCapacity"
    assert dict(call.fields)[price] == "100"
    alarm = properties("NoSpotAlarm")
    assert alarm["EvaluationPeriods"] == alarm["DatapointsToAlarm"] == {"Ref": "OnDemandAfterMinutes"}
    assert alarm["AlarmActions"][0] == {"Fn::GetAtt": ["FallBack", "Arn"]}
    assert alarm["Metrics"] == properties("NoMachineAlarm")["Metrics"]
    statement = properties("FallBackRole")["Policies"][0]["PolicyDocument"]["Statement"]
    condition, telling, without = statement.pop()["Fn::If"]
    assert (condition, telling["Action"], without) == ("HasEmail", "sns:Publish", {"Ref": "AWS::NoValue"})
    rights = {entry["Action"]: entry for entry in statement}
    assert set(rights) == {"autoscaling:UpdateAutoScalingGroup", "ec2:RunInstances", "ec2:CreateTags", "iam:PassRole"}
    assert "launch-template/${LaunchTemplate}" in str(rights["ec2:RunInstances"]["Condition"]["ArnEquals"])
    assert rights["ec2:CreateTags"]["Condition"] == {"StringEquals": {"ec2:CreateAction": "RunInstances"}}
    assert rights["iam:PassRole"]["Resource"] == {"Fn::GetAtt": ["Role", "Arn"]}
    for given in ({}, {"OnDemandAfterMinutes": "20", "OnDemand": "yes"}):
        assert "FallBack" not in create(s3_server, **given).resources


def test_cloudwatch_gets_the_logs_if_asked_and_keeps_them_for_so_long(s3_server: str) -> None:
    stack = create(s3_server, LogDays="7")
    (group,) = stack.client("logs").describe_log_groups(logGroupNamePrefix=f"/holdfast/{stack.name}")["logGroups"]
    assert group["retentionInDays"] == 7
    assert f"log_group='{group['logGroupName']}'" in stack.user_data()
    (statement,) = stack.policies()["holdfast-logs"]["Statement"]
    arn = f"arn:aws:logs:us-east-1:123456789012:log-group:{group['logGroupName']}"
    assert statement["Resource"] == [arn, f"{arn}:*"]
    without = undecided(s3_server)
    assert "log_group=''" in without.user_data()
    assert "holdfast-logs" not in without.policies()


def test_types_that_are_left_empty_are_left_out_and_on_demand_is_a_choice(s3_server: str) -> None:
    policy = create(s3_server, InstanceType1="g6.xlarge", InstanceType3="gr6.xlarge", OnDemand="yes").group()[
        "MixedInstancesPolicy"
    ]
    overrides = [override for override in policy["LaunchTemplate"]["Overrides"] if override]  # moto keeps AWS::NoValue
    assert [override["InstanceType"] for override in overrides] == ["g6.xlarge", "gr6.xlarge"]
    assert policy["InstancesDistribution"]["OnDemandPercentageAboveBaseCapacity"] == 100


def test_the_machine_takes_imdsv2_only_and_has_an_encrypted_disk_and_no_key(s3_server: str) -> None:
    data = undecided(s3_server).launch_data()
    assert data["MetadataOptions"] == {
        "HttpEndpoint": "enabled",
        "HttpTokens": "required",
        "HttpPutResponseHopLimit": 2,
    }
    (disk,) = data["BlockDeviceMappings"]
    assert disk["Ebs"]["Encrypted"]
    assert disk["Ebs"]["VolumeType"] == "gp3"
    assert "KeyName" not in data


@pytest.mark.parametrize(
    ("given", "image"),
    [
        ({}, "{{resolve:ssm:/aws/service/ami-amazon-linux-latest/al2023-ami-kernel-default-x86_64}}"),
        ({"Image": "ami-0123456789abcdef0"}, "ami-0123456789abcdef0"),
        ({"Image": "/my/own"}, "{{resolve:ssm:/my/own}}"),
        ({"Image": "/my/own", "Gpu": "yes"}, "{{resolve:ssm:/my/own}}"),
    ],
)
def test_the_image_is_amazons_or_ones_own_by_its_id_or_its_parameter(
    s3_server: str, given: dict[str, str], image: str
) -> None:
    expression = properties("LaunchTemplate")["LaunchTemplateData"]["ImageId"]
    assert evaluate(s3_server, expression, **given) == image


def test_gpus_need_types_of_their_own_and_a_disk_that_their_image_fits_on() -> None:
    """Read from the template, as moto keeps no rules."""
    resources = template()
    rule = resources["Rules"]["ForGpus"]
    assert rule["RuleCondition"] == {"Fn::Equals": [{"Ref": "Gpu"}, "yes"]}
    types, disk = [assertion["Assert"] for assertion in rule["Assertions"]]
    assert types == {"Fn::Not": [{"Fn::Equals": [{"Ref": "InstanceType1"}, ""]}]}
    (contained,) = disk["Fn::Not"]
    least = resources["Parameters"]["DiskGiB"]["MinValue"]
    assert contained == {"Fn::Contains": [[str(size) for size in range(least, 100)], {"Ref": "DiskGiB"}]}
    chosen = properties("LaunchTemplate")["LaunchTemplateData"]["ImageId"]["Fn::If"][2]["Fn::If"]
    assert (chosen[0], "nvidia" in chosen[1], "nvidia" in chosen[2]) == ("WithGpu", True, False)


def test_the_disk_is_as_large_and_as_fast_as_asked(s3_server: str) -> None:
    (disk,) = create(s3_server, DiskGiB="500", DiskMiBps="500", KmsKey=KEY).launch_data()["BlockDeviceMappings"]
    assert (int(disk["Ebs"]["VolumeSize"]), int(disk["Ebs"]["Throughput"])) == (500, 500)
    assert disk["Ebs"]["KmsKeyId"] == KEY


@pytest.mark.parametrize(
    ("given", "ports"),
    [
        ({}, {443}),
        ({"Code": "host.example/team/img:1"}, {443}),
        ({"Code": "host.example:5000/team/img:1"}, {443, 5000}),
        ({"Code": "team/img:1@sha256:" + "0" * 64}, {443}),
        ({"HoldfastRequirement": "holdfast-train @ https://h.example:8443/h.whl"}, {443, 8443}),
        ({"HoldfastRequirement": "holdfast-train @ https://h.example/h.whl"}, {443}),
    ],
)
def test_nothing_comes_in_and_https_alone_goes_out_but_to_the_ports_that_the_parameters_name(
    s3_server: str, given: dict[str, str], ports: set[int]
) -> None:
    group, found = properties("SecurityGroup"), set()
    assert "SecurityGroupIngress" not in group
    for rule in group["SecurityGroupEgress"]:
        condition, taken, left = rule.get("Fn::If", ["", rule, None])
        assert left in (None, {"Ref": "AWS::NoValue"})
        assert taken["FromPort"] == taken["ToPort"]
        port = {"Fn::If": [condition, taken["FromPort"], "0"]} if condition else str(taken["FromPort"])
        found.add(int(evaluate(s3_server, port, **given)))
    assert found - {0} == ports


def test_the_bucket_is_versioned_and_encrypted_and_tidies_up() -> None:
    bucket = properties("Bucket")
    assert bucket["VersioningConfiguration"] == {"Status": "Enabled"}
    assert bucket["BucketEncryption"]["ServerSideEncryptionConfiguration"]
    rules: dict[str, Any] = {}
    for rule in bucket["LifecycleConfiguration"]["Rules"]:
        assert rule["Status"] == "Enabled"
        rules |= rule
    assert rules["AbortIncompleteMultipartUpload"] == {"DaysAfterInitiation": 2}
    assert rules["NoncurrentVersionExpiration"] == {"NoncurrentDays": {"Ref": "NoncurrentDays"}}
    condition, own, amazons = bucket["BucketEncryption"]["ServerSideEncryptionConfiguration"][0]["Fn::If"]
    assert condition == "HasKey"
    assert own["ServerSideEncryptionByDefault"] == {"SSEAlgorithm": "aws:kms", "KMSMasterKeyID": {"Ref": "KmsKey"}}
    assert own["BucketKeyEnabled"] is True, "else each object costs a call of KMS"
    assert amazons["ServerSideEncryptionByDefault"] == {"SSEAlgorithm": "AES256"}


def test_the_bucket_is_private_and_outlives_the_stack() -> None:
    bucket = template()["Resources"]["Bucket"]
    assert (bucket["DeletionPolicy"], bucket["UpdateReplacePolicy"]) == ("RetainExceptOnCreate", "Retain")
    assert list(bucket["Properties"]["PublicAccessBlockConfiguration"].values()) == [True] * 4
    (statement,) = properties("BucketPolicy")["PolicyDocument"]["Statement"]
    assert statement["Effect"] == "Deny"
    assert statement["Condition"] == {"Bool": {"aws:SecureTransport": "false"}}


def test_a_bucket_of_ones_own_is_used_as_it_is(s3_server: str) -> None:
    stack = create(s3_server, ExistingBucket="mine", StorePrefix="a/b")
    assert "Bucket" not in stack.resources
    assert stack.outputs["Store"] == "s3://mine/a/b"


def test_stalls_raise_alarms_and_a_group_that_wants_no_machine_raises_none() -> None:
    """Read from the template, as moto makes no alarms with a stack."""
    missing, idle = properties("NoMachineAlarm"), properties("IdleMachineAlarm")
    published = properties("Group")["MetricsCollection"][0]["Metrics"]
    metrics = {m["Id"]: m["MetricStat"]["Metric"]["MetricName"] for m in missing["Metrics"] if "MetricStat" in m}
    assert sorted(metrics.values()) == sorted(published), "the alarm needs what the group publishes"
    assert missing["Metrics"][0]["Expression"] == "wanted - there"
    assert metrics == {"wanted": "GroupDesiredCapacity", "there": "GroupInServiceInstances"}
    assert idle["Statistic"] == "Maximum"
    assert {alarm["TreatMissingData"] for alarm in (missing, idle)} == {"notBreaching"}


@pytest.mark.parametrize("code", ["s3://my-code/v1.tar.gz", "123456789012.dkr.ecr.us-east-1.amazonaws.com/digits:1"])
def test_the_user_data_is_a_script_that_bash_can_read_and_fits(s3_server: str, code: str) -> None:
    text = create(s3_server, Code=code).user_data()
    assert words("bash", "-n", given=text) == ""
    assert "${" not in text
    assert len(text.encode()) < 12288, "EC2 takes 16384; what may be long is in the set-up's archive"


def test_the_settings_that_the_machine_gets_are_settings_that_holdfast_takes(s3_server: str, tmp_path: Path) -> None:
    stack = create(s3_server, MaxHours="12")
    text = written_by(stack.user_data(), "/etc/holdfast/holdfast.toml")
    settings = tomllib.loads(text)
    assert settings["store"] == stack.outputs["Store"]
    assert settings["lifecycle-hook"] == f"{stack.name}/holdfast-drain"
    path = tmp_path / "holdfast.toml"
    path.write_text(text)
    given = ["run", "--config", str(path), "--run", "count", "--work-dir", str(tmp_path / "work"), "--store-wait", "5"]
    daemon = Daemon([*given, "--", sys.executable, str(SCRIPTS / "count.py")], {"HOLDFAST_ENDPOINT_URL": s3_server})
    assert daemon.wait() == Exit.COMPLETE, daemon.text
    daemon.close()
    assert "giving the machine back failed" in daemon.text, "it was asked for, and there is no metadata service here"


def test_which_checkpoints_stay_is_as_asked_and_all_by_default(s3_server: str) -> None:
    def settings(**given: str) -> dict[str, Any]:
        text = written_by(create(s3_server, **given).user_data(), "/etc/holdfast/holdfast.toml")
        return {key: value for key, value in tomllib.loads(text).items() if key.startswith("keep-")}

    assert settings() == {}
    kept = settings(KeepLast="3", KeepEvery="10", KeepBest="accuracy:max")
    assert kept == {"keep-last": 3, "keep-every": 10, "keep-best": "accuracy:max"}
    known = {max(option.opts, key=len) for option in run.params if isinstance(option, Option)}
    assert {f"--{key}" for key in kept} <= known


def test_the_hook_that_the_daemon_completes_is_the_groups(s3_server: str) -> None:
    """Read from the template, as moto makes no hooks with a group."""
    (hook,) = properties("Group")["LifecycleHookSpecificationList"]
    assert hook["LifecycleTransition"] == "autoscaling:EC2_INSTANCE_TERMINATING"
    assert hook["HeartbeatTimeout"] >= 120, "time for a drain"
    settings = tomllib.loads(written_by(undecided(s3_server).user_data(), "/etc/holdfast/holdfast.toml"))
    assert settings["lifecycle-hook"].endswith(f"/{hook['LifecycleHookName']}")


def test_every_parameter_says_what_it_is_for_and_has_a_default_where_one_can_be() -> None:
    parameters = template()["Parameters"]
    assert all(parameter.get("Description") for parameter in parameters.values())
    assert {name for name, parameter in parameters.items() if "Default" not in parameter} == {
        "RunName",
        "Code",
        "SetUp",
        "SetUpSha256",
        "Vpc",
        "Subnets",
    }
    shown = template()["Metadata"]["AWS::CloudFormation::Interface"]["ParameterGroups"]
    assert sorted(name for group in shown for name in group["Parameters"]) == sorted(parameters)


@pytest.mark.parametrize(
    ("name", "good", "bad"),
    [
        ("RunName", ["digits", "a.b_c-1"], ["", "-x", "a'b", "a b"]),
        (
            "Code",
            ["s3://my-code/a/b-1.tar.gz", "host.example:5000/team/img:1@sha256:" + "0" * 64],
            ["s3://my-code/x.zip", "a b", "'", "img:1"],
        ),
        ("Training", ["python train.py --epochs=3 --x a,b"], ["python 'a b'", "echo $HOME", "a;b", "a\nb", ""]),
        (
            "HoldfastRequirement",
            [
                "holdfast-train @ https://h.example/h.whl#sha256=00ff",
                "holdfast-train[gpu,demo] @ https://h.example/h.whl?a=b&c=%2F",
                "h[gpu] @ file:///opt/h-0.1-py3-none-any.whl",
            ],
            [
                "",
                "-x",
                "a'b @ https://h.example/h.whl",
                "h @ https://h.example/'.whl",
                "holdfast",
                "holdfast[tensorflow]",
                "holdfast-train==0.1.0",
                "holdfast @ http://h.example/h.whl",
                "holdfast @ https://h.example/simple",
                "holdfast other @ https://h.example/h.whl",
            ],
        ),
        (
            "InstanceType1",
            ["m7i.xlarge", "m7i-flex.large", "r7iz.metal-16xl", "g4dn.xlarge", "gr6.4xlarge", "p6-b200.48xlarge"],
            ["m7g.xlarge", "c8gd.large", "g5g.xlarge", "im4gn.large", "t4g.small", "p6e-gb200.36xlarge", "m7i"],
        ),
        ("InstanceType2", ["", "u-6tb1.56xlarge", "u7i-6tb.112xlarge"], ["m7gd.metal"]),
        ("SetUp", ["s3://my-code/code/set-up/0123.tar.gz"], ["", "registry.example/img:1", "s3://my-code/x'.tar.gz"]),
        ("SetUpSha256", ["0a" * 32], ["", "0A" * 32, "0a" * 31]),
        ("Image", ["", "ami-0123456789abcdef0", "/aws/service/x/ami-id"], ["al2023", "ami-", "/a}}b", "{{resolve"]),
        ("KmsKey", ["", KEY], ["alias/mine", "arn:aws:kms:us-east-1:123456789012:alias/mine"]),
        ("KeepBest", ["", "val_loss", "accuracy:max"], ["a b", 'x"', "x:most", "a'"]),
        (
            "StorePrefix",
            ["runs", "team/runs", "stacks/digits", "codes", "my/code"],
            ["", "/runs", "runs/", "a//b", "a b", "code", "code/mine", "wheels", "wheels/runs"],
        ),
        ("CodeSha256", ["", "0a" * 32], ["0A" * 32, "0a" * 31]),
        ("ExistingBucket", ["", "my-bucket"], ["My", "s3://my-bucket"]),
    ],
)
def test_what_reaches_the_user_data_cannot_break_out_of_its_quotes(name: str, good: list[str], bad: list[str]) -> None:
    pattern = template()["Parameters"][name]["AllowedPattern"]
    assert [text for text in good if not re.fullmatch(pattern, text)] == []
    assert [text for text in bad if re.fullmatch(pattern, text)] == []


def test_by_default_pip_installs_the_wheel_in_the_codes_archive_and_nothing_by_its_name() -> None:
    """A bare name makes it take what the public index has under that name: another project."""
    default = template()["Parameters"]["HoldfastRequirement"]["Default"]
    wheel = f"holdfast_train-{holdfast.__version__}-py3-none-any.whl"
    assert default == f"holdfast-train[tensorflow] @ file:///opt/holdfast/code/{wheel}"
