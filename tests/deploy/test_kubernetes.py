"""The manifests are valid and hold together, with each other, the image and the chart's values."""

from __future__ import annotations

import copy
import re
import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml
from deploy_files import (
    DOCKERFILES, KUBERNETES, KUSTOMIZATION, compose, last, production_stack, resources
)
from devtools.setup_env import REPOSITORY, own_environment
from devtools.setup_env import VLLM as RELEASE
from programs import OPTION
from vllm.entrypoints.cli.serve import FlexibleArgumentParser, make_arg_parser

IMAGE = DOCKERFILES[0]
RESOURCES = resources()
POD: dict[str, Any] = RESOURCES["Deployment"]["spec"]["template"]["spec"]
[CONTAINER] = POD["containers"]
STACK = production_stack()
ENGINES, [MODEL] = STACK["servingEngineSpec"], STACK["servingEngineSpec"]["modelSpec"]


def valid(manifests: list[dict[str, Any]], release: str, file: Path) -> bool:
    file.write_text(yaml.safe_dump_all(manifests))
    checker = own_environment("deploy").parent / "kubernetes-validate"
    command = [checker, "--strict", "--kubernetes-version", release, file]
    return subprocess.run(command, capture_output=True).returncode == 0


@pytest.mark.slow
@pytest.mark.parametrize("release", ["1.30", "1.37"])
def test_manifests_are_of_kubernetes_schemas(release: str, tmp_path: Path) -> None:
    manifests = list(RESOURCES.values())
    assert valid(manifests, release, tmp_path / "whole.yaml")
    for kind, broken in RESOURCES.items():
        wrong = copy.deepcopy(broken)
        wrong.setdefault("spec", {})["notThere"] = 1
        assert not valid([wrong], release, tmp_path / f"{kind}.yaml"), kind


def test_the_kustomization_names_every_manifest() -> None:
    named = set(yaml.safe_load(KUSTOMIZATION.read_text("utf-8"))["resources"])
    others = {"kustomization.yaml", "production-stack.yaml"}
    assert named == {file.name for file in KUBERNETES.glob("*.yaml")} - others


def test_the_service_and_the_policy_find_the_pods() -> None:
    labels = RESOURCES["Deployment"]["spec"]["template"]["metadata"]["labels"].items()
    assert RESOURCES["Deployment"]["spec"]["selector"]["matchLabels"].items() <= labels
    assert RESOURCES["Service"]["spec"]["selector"].items() <= labels
    assert RESOURCES["NetworkPolicy"]["spec"]["podSelector"]["matchLabels"].items() <= labels


def test_everything_speaks_of_the_same_port() -> None:
    [port] = CONTAINER["ports"]
    assert port["containerPort"] == 8000
    probes = [CONTAINER[f"{kind}Probe"]["httpGet"] for kind in ("startup", "readiness", "liveness")]
    assert probes == [{"path": "/health", "port": port["name"]}] * 3
    [service] = RESOURCES["Service"]["spec"]["ports"]
    assert service["targetPort"] == port["name"]
    [ingress] = RESOURCES["NetworkPolicy"]["spec"]["ingress"]
    assert ingress["ports"] == [{"protocol": "TCP", "port": port["name"]}]


def test_a_first_download_has_half_an_hour() -> None:
    for probe in (CONTAINER["startupProbe"], ENGINES["startupProbe"]):
        assert probe["periodSeconds"] * probe["failureThreshold"] >= 1800
    assert RESOURCES["Deployment"]["spec"]["progressDeadlineSeconds"] > 1800


def test_pods_run_as_the_image_does() -> None:
    for security in (POD["securityContext"], ENGINES["securityContext"]):
        assert security["runAsNonRoot"]
        assert str(security["runAsUser"]) == last(IMAGE, "USER")
        assert security["runAsGroup"] == 0
    for security in (CONTAINER["securityContext"], ENGINES["containerSecurityContext"]):
        assert security["allowPrivilegeEscalation"] is False
        assert security["capabilities"] == {"drop": ["ALL"]}


def test_the_volume_is_where_the_image_keeps_what_is_dear() -> None:
    mounts = {mount["name"]: mount["mountPath"] for mount in CONTAINER["volumeMounts"]}
    assert mounts == {"cache": last(IMAGE, "VOLUME"), "shared-memory": "/dev/shm"}
    [cache, _] = POD["volumes"]
    claim = RESOURCES["PersistentVolumeClaim"]["metadata"]["name"]
    assert cache["persistentVolumeClaim"]["claimName"] == claim


def test_a_pod_is_given_the_time_it_takes_to_end() -> None:
    [shutdown] = [arg for arg in CONTAINER["args"] if arg.startswith("--shutdown-timeout=")]
    before = int(CONTAINER["lifecycle"]["preStop"]["exec"]["command"][1])
    assert before + int(shutdown.partition("=")[2]) < POD["terminationGracePeriodSeconds"]


def test_secrets_are_the_same_everywhere() -> None:
    asked = {
        each["name"]: each["valueFrom"]["secretKeyRef"]
        for each in CONTAINER["env"] if "valueFrom" in each
    }
    key, token = asked["VLLM_API_KEY"], asked["HF_TOKEN"]
    assert ENGINES["vllmApiKey"] == {"secretName": key["name"], "secretKey": key["key"]}
    assert MODEL["hf_token"] == {"secretName": token["name"], "secretKey": token["key"]}
    assert token["optional"]


def test_replicas_are_the_same_server_as_the_one() -> None:
    [image] = yaml.safe_load(KUSTOMIZATION.read_text("utf-8"))["images"]
    assert (MODEL["repository"], str(MODEL["tag"])) == (image["name"], image["newTag"])
    assert CONTAINER["image"] == image["name"]
    model, *args = CONTAINER["args"]
    assert MODEL["modelURL"] == model
    assert f"--tool-call-parser={MODEL['toolCallParser']}" in args
    assert f"--max-model-len={MODEL['vllmConfig']['maxModelLen']}" in args
    assert "--served-model-name=midm" in args and "--served-model-name=midm" in (
        MODEL["vllmConfig"]["extraArgs"]
    )


def test_images_name_the_version_of_the_package_and_the_release_of_vllm() -> None:
    [version] = re.findall(r'^version = "(.+)"$', (REPOSITORY / "pyproject.toml").read_text(), re.M)
    tag = f"{version}-vllm{RELEASE}"
    dockerfile = IMAGE.read_text().splitlines()
    assert f"ARG RELEASE={RELEASE}" in dockerfile
    assert f"#   docker build -f deploy/Dockerfile -t midm-vllm:{tag} ." in dockerfile
    assert str(MODEL["tag"]) == tag
    services = compose()["services"]
    assert services["vllm-gpu"]["image"] == f"midm-vllm:{tag}"
    assert services["vllm-cpu"]["image"] == f"midm-vllm:{tag}-cpu"
    assert services["vllm-cpu"]["build"]["args"]["BASE"].endswith(f":v{RELEASE}")


def test_vllm_knows_every_option() -> None:
    said = [*CONTAINER["args"], *MODEL["vllmConfig"]["extraArgs"]]
    said += compose()["services"]["vllm-gpu"]["command"]
    said_options = {option for word in said for option in OPTION.findall(word)}
    assert "--tool-call-parser" in said_options
    known = make_arg_parser(FlexibleArgumentParser())._option_string_actions
    assert said_options <= known.keys()
