"""Where the machines of a stack are, and of which kind: what the template cannot look at."""

from __future__ import annotations

import re
from typing import Any

import template
from aws import Aws
from pack import Refused

PRETENDED = {"VpcId": "vpc-1", "SubnetIds": ["subnet-1", "subnet-2"]}


def network(aws: Aws) -> dict[str, str]:
    """The default VPC with its default subnets, which reach the internet. Raises Refused where there is none."""
    default = [{"Name": "is-default", "Values": ["true"]}]
    vpcs = aws.call("ec2", "describe_vpcs", {"Vpcs": [{"VpcId": PRETENDED["VpcId"]}]}, Filters=default)["Vpcs"]
    if not vpcs:
        raise Refused("this region has no default VPC: give Vpc=vpc-… and Subnets=subnet-…,subnet-…")
    vpc = vpcs[0]["VpcId"]
    pretended = {"Subnets": [{"SubnetId": subnet} for subnet in PRETENDED["SubnetIds"]]}
    filters = [{"Name": "vpc-id", "Values": [vpc]}, {"Name": "default-for-az", "Values": ["true"]}]
    subnets = aws.call("ec2", "describe_subnets", pretended, Filters=filters)["Subnets"]
    if not subnets:
        raise Refused(f"the default VPC {vpc} has no default subnets: give Vpc=vpc-… and Subnets=subnet-…,subnet-…")
    return {"Vpc": vpc, "Subnets": ",".join(sorted(subnet["SubnetId"] for subnet in subnets))}


def check_types(aws: Aws, parameters: dict[str, str]) -> None:
    """Types of one's own, by all parameters that the stack will have; says what may change results. Raises Refused."""
    names = [parameters.get(f"InstanceType{number}", "") for number in range(1, 5)]
    gpu = parameters.get("Gpu") == "yes"
    if any(names) and not names[0]:
        raise Refused("InstanceType2 to InstanceType4 need an InstanceType1")
    if gpu and not names[0]:
        raise Refused("with Gpu=yes, give types that have a GPU, as InstanceType1=g6.xlarge")
    if gpu and float(parameters.get("DiskGiB") or template.default("DiskGiB")) < 100:
        raise Refused("with Gpu=yes, give DiskGiB=100 or more: the image and CUDA's libraries need it")
    names = list(dict.fromkeys(filter(None, names)))
    if not names:
        return
    answer = aws.call("ec2", "describe_instance_types", {"InstanceTypes": []}, InstanceTypes=names)
    found = {entry["InstanceType"]: entry for entry in answer["InstanceTypes"]}
    sizes = {name: size(entry) for name, entry in found.items()}
    if len(set(sizes.values())) > 1:
        raise Refused(
            f"the instance types differ, and a replacement must not be smaller or round otherwise: {listed(sizes)}"
        )
    without = sorted(name for name, entry in found.items() if "GpuInfo" not in entry)
    if gpu and without:
        raise Refused(f"Gpu=yes, and {', '.join(without)} has no GPU")
    if found and not gpu and len(without) < len(found) and not parameters.get("Image"):
        print(f"{', '.join(sorted(found))}: the image has no driver for the GPU; give Gpu=yes", flush=True)
    makers = {name: maker(entry) for name, entry in found.items()}
    if len(set(makers.values())) > 1:
        print(
            f"the CPUs differ: {listed(makers)}. A training that resumes on another one rounds differently, and does "
            "not end bit for bit as an undisturbed one",
            flush=True,
        )
    core = 100 / max((entry["VCpuInfo"]["DefaultVCpus"] for entry in found.values()), default=1)
    stall = parameters.get("StallCpuPercent") or template.default("StallCpuPercent")
    if core <= float(stall):
        print(
            f"one busy core is {core:.1f} % of these machines, and StallCpuPercent={stall} takes that for a stall: "
            f"give StallCpuPercent={max(core / 2, 0.1):.1f} if the training may use one core",
            flush=True,
        )


def size(entry: dict[str, Any]) -> str:
    gpus = [f"{gpu.get('Count', 1)} {gpu.get('Name', 'GPU')}" for gpu in entry.get("GpuInfo", {}).get("Gpus", [])]
    memory, cpus = entry["MemoryInfo"]["SizeInMiB"] / 1024, entry["VCpuInfo"]["DefaultVCpus"]
    return ", ".join([f"{memory:g} GiB", f"{cpus} vCPUs", *gpus])


def maker(entry: dict[str, Any]) -> str:
    """And the generation, as EC2 counts them: m7i and r7iz are of one."""
    generation = re.match(r"[a-z]+-?(\d+)", entry["InstanceType"])
    return f"{entry['ProcessorInfo'].get('Manufacturer', 'unknown')}, generation {generation[1] if generation else '?'}"


def listed(of_types: dict[str, str]) -> str:
    return "; ".join(f"{name}: {text}" for name, text in sorted(of_types.items()))
