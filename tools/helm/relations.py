"""Whether a release's objects fit together: what no schema of a single object says."""

import json
import re
from collections.abc import Iterator
from typing import Any

Object = dict[str, Any]


def faults_of(objects: list[Object], release: str, namespace: str) -> list[str]:
    """Return what is wrong between the objects of a release."""
    by_name = {(one["kind"], one["metadata"]["name"]): one for one in objects}
    found = []
    if len(by_name) < len(objects):
        found.append("two objects have the same kind and name")
    pods = [one["spec"]["template"] for one in objects if "template" in one.get("spec", {})]
    for one in objects:
        name = f"{one['kind']} {one['metadata']['name']}"
        found += [f"{name}: {fault}" for fault in _selects_nothing(one, pods)]
        target = one.get("spec", {}).get("scaleTargetRef")
        if target is not None and (target["kind"], target["name"]) not in by_name:
            found.append(f"{name}: scales {target['name']}, which is not there")
        if one["kind"] == "ServiceMonitor":
            found += [f"{name}: {fault}" for fault in _watches_nothing(one, objects)]
        if "template" in one.get("spec", {}):
            found += [f"{name}: {fault}" for fault in _misses(one, by_name, release)]
            found += [f"{name}: {fault}" for fault in _calls_nobody(one, by_name, namespace)]
    return found


def _matches(selector: dict[str, str], labels: dict[str, str]) -> bool:
    return bool(selector) and selector.items() <= labels.items()


def _selects_nothing(one: Object, pods: list[Object]) -> Iterator[str]:
    spec = one.get("spec", {})
    selector = {
        "Service": lambda: spec["selector"],
        "PodDisruptionBudget": lambda: spec["selector"]["matchLabels"],
        "NetworkPolicy": lambda: spec["podSelector"]["matchLabels"],
        "Deployment": lambda: spec["selector"]["matchLabels"],
        "StatefulSet": lambda: spec["selector"]["matchLabels"],
    }.get(one["kind"])
    if selector is None:
        return
    chosen = [pod for pod in pods if _matches(selector(), pod["metadata"]["labels"])]
    if not chosen:
        yield "selects no pods"
    if one["kind"] in {"Deployment", "StatefulSet"} and chosen != [spec["template"]]:
        yield "selects other pods than its own"
    if one["kind"] == "Service":
        ports = {p["name"] for pod in chosen for c in pod["spec"]["containers"] for p in c["ports"]}
        wanted = {port["targetPort"] for port in spec["ports"]}
        if not wanted <= ports:
            yield f"leads to ports {wanted - ports}, which no container has"


def _watches_nothing(monitor: Object, objects: list[Object]) -> Iterator[str]:
    selector = monitor["spec"]["selector"]["matchLabels"]
    services = [
        one
        for one in objects
        if one["kind"] == "Service" and _matches(selector, one["metadata"]["labels"])
    ]
    if len(services) != 1:
        yield f"watches {len(services)} services"
    ports = {port["name"] for one in services for port in one["spec"]["ports"]}
    for endpoint in monitor["spec"]["endpoints"]:
        if endpoint["port"] not in ports:
            yield f"watches port {endpoint['port']}, which no service has"


def _misses(
    workload: Object, by_name: dict[tuple[str, str], Object], release: str
) -> Iterator[str]:
    """Yield what the pods mount, read or are named by, and the release does not make."""
    made = {name for kind, name in by_name if kind in {"ConfigMap", "Secret", "Service"}}
    own = {name for name in made if name.startswith(f"{release}-")}
    spec = workload["spec"]["template"]["spec"]
    if workload["kind"] == "StatefulSet" and workload["spec"]["serviceName"] not in own:
        yield "its service is not there"
    volumes = {volume["name"] for volume in spec["volumes"]}
    volumes |= {v["metadata"]["name"] for v in workload["spec"].get("volumeClaimTemplates", ())}
    for container in spec["containers"]:
        for mount in container["volumeMounts"]:
            if mount["name"] not in volumes:
                yield f"mounts {mount['name']}, which is no volume"
        for source in container.get("envFrom", ()):
            (named,) = source.values()
            if named["name"].startswith(f"{release}-") and named["name"] not in own:
                yield f"reads {named['name']}, which is not there"
    for volume in spec["volumes"]:
        name = volume.get("configMap", {}).get("name") or volume.get("secret", {}).get("secretName")
        if name is not None and name.startswith(f"{release}-") and name not in own:
            yield f"mounts {name}, which is not there"


def _calls_nobody(
    workload: Object, by_name: dict[tuple[str, str], Object], namespace: str
) -> Iterator[str]:
    """Yield the addresses of pods in the workload's variables that no StatefulSet has."""
    hosts = rf"([a-z0-9-]+)-(\d+)\.([a-z0-9-]+)\.{namespace}\.svc\."
    for pod, number, service in re.findall(hosts, json.dumps(workload)):
        stateful = by_name.get(("StatefulSet", pod))
        if stateful is None or stateful["spec"]["serviceName"] != service:
            yield f"calls {pod}-{number}.{service}, which is no pod"
        elif int(number) >= stateful["spec"]["replicas"]:
            yield f"calls {pod}-{number}, which is one too many"
