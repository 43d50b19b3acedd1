"""`make helm`: lint and render the chart, check each object against its schema and each other.

Prints one line for each case; with `--out DIR` writes the manifests. Exit status 1: something is
wrong.
"""

import argparse
import asyncio
import copy
import json
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

import helm_sdkpy
import kubernetes_validate
import yaml

from tools.helm.cases import CASES, REFUSED, Values
from tools.helm.cluster import running_cluster
from tools.helm.relations import Object, faults_of

REPOSITORY = Path(__file__).parent.parent.parent
CHART = REPOSITORY / "deploy/helm"
CRDS = Path(__file__).parent / "crds"
RELEASE, NAMESPACE = "swarm", "memories"
VERSIONS = ("1.27", "1.33", "1.36")
"""Kubernetes versions whose schemas are used: the oldest that the chart allows, and later ones."""


def render(values: Values, version: str) -> list[Object]:
    """Return the objects that Helm sends to a cluster of this version. Raise HelmError."""
    with running_cluster(version) as cluster, tempfile.TemporaryDirectory() as folder:
        # Helm follows the chart's links itself, and reports that each time.
        chart = shutil.copytree(CHART, Path(folder) / "chart")
        kubeconfig = Path(folder) / "kubeconfig"
        kubeconfig.write_text(cluster.kubeconfig())
        configuration = helm_sdkpy.Configuration(NAMESPACE, kubeconfig=str(kubeconfig))
        install = helm_sdkpy.Install(configuration)
        asyncio.run(install.run(RELEASE, str(chart), values, wait=False))
        return cluster.objects


def lint() -> list[str]:
    """Return what Helm's linter says of the chart with its default values."""
    said = asyncio.run(helm_sdkpy.Lint(helm_sdkpy.Configuration()).run(str(CHART)))
    print(f"lint: {len(said['Messages'] or [])} remarks")
    return [str(error) for error in said["Errors"] or []]


def wrong_with(objects: list[Object], version: str) -> list[str]:
    """Return what is wrong with the objects of one case."""
    found = faults_of(objects, RELEASE, NAMESPACE)
    for one in objects:
        name = f"{one['kind']} {one['metadata']['name']}"
        if one["apiVersion"].startswith("monitoring.coreos.com/"):
            found += [f"{name}: {fault}" for fault in _against_crd(one)]
            continue
        try:
            kubernetes_validate.validate(one, version, strict=True)
        except kubernetes_validate.ValidationError as error:
            found.append(f"{name}: {error.message} at {list(error.path)}")
    return found


def _against_crd(one: Object) -> list[str]:
    with tempfile.NamedTemporaryFile("w", suffix=".json") as file:
        json.dump(one, file)
        file.flush()
        words = ["--schemafile", str(CRDS / f"{one['kind']}.json"), file.name]
        command = [sys.executable, "-m", "check_jsonschema", *words]
        ended = subprocess.run(command, capture_output=True, text=True, check=False)
    return [] if ended.returncode == 0 else [(ended.stdout + ended.stderr).strip()]


def check_the_checks() -> list[str]:
    """Break a good case in ways that must be found. Return those that were not."""
    good = render(CASES["watched"], VERSIONS[-1])
    missed = []
    for kind, path, value in (
        ("Deployment", ("spec", "replicass"), 2),
        ("Deployment", ("spec", "template", "spec", "containers", 0, "livenessProbe"), {"http": 1}),
        ("ServiceMonitor", ("spec", "endpoints", 0, "scheme"), "gopher"),
        ("PrometheusRule", ("spec", "groups", 0, "rules", 0, "exprs"), "up"),
        ("Service", ("spec", "selector"), {"app": "another"}),
        ("HorizontalPodAutoscaler", ("spec", "scaleTargetRef", "name"), "another"),
    ):
        broken = copy.deepcopy(good)
        place = next(one for one in broken if one["kind"] == kind)
        *way, last = path
        for step in way:
            place = place[step]
        place[last] = value
        if not wrong_with(broken, VERSIONS[-1]):
            missed.append(f"{kind} with a wrong {last} passes the checks")
    return missed


def _refusals() -> list[str]:
    found = []
    for name, (values, words) in REFUSED.items():
        try:
            render(values, VERSIONS[-1])
        except helm_sdkpy.HelmError as error:
            if words not in str(error):
                found.append(f"{name}: refused for another reason: {error}")
        else:
            found.append(f"{name}: not refused")
    print(f"{len(REFUSED)} wrong values are refused" if not found else "refusals: wrong")
    return found


def main() -> int:
    """Run everything. Return the exit status."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--out", type=Path, help="a folder for the manifests")
    out = parser.parse_args().out
    faults = lint()
    for name, values in CASES.items():
        for version in VERSIONS:
            objects = render(values, version)
            wrong = wrong_with(objects, version)
            faults += [f"{name}, Kubernetes {version}: {fault}" for fault in wrong]
        print(f"{name}: {len(objects)} objects, on Kubernetes {', '.join(VERSIONS)}")
        if out is not None:
            out.mkdir(parents=True, exist_ok=True)
            (out / f"{name}.yaml").write_text(yaml.safe_dump_all(objects, sort_keys=False))
    faults += _refusals()
    faults += check_the_checks()
    for fault in faults:
        print(fault, file=sys.stderr)
    return 1 if faults else 0


if __name__ == "__main__":
    sys.exit(main())
