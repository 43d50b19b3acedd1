"""`topology` shows the nodes that there are."""

from pathlib import Path

from app.embedded import embedded_redis
from app.settings import Settings
from tests.commands.app_process import run_app
from tests.conftest import DIMENSION
from tests.kit.replica_set import replica_set


async def test_master_and_replicas_are_shown(tmp_path: Path) -> None:
    async with replica_set(tmp_path) as nodes:
        status, said = run_app("topology", redis_url=nodes.topology.master.tcp_url)
        assert status == 0
        lines = said.splitlines()
        assert lines[0].split()[:3] == ["master", "port", str(nodes.topology.master.port)]
        shown = {line.split()[1] for line in lines[1:]}
        assert shown == {f"127.0.0.1:{node.port}" for node in nodes.topology.replicas}
        assert all("online" in line for line in lines[1:])
        status, said = run_app("topology", redis_url=nodes.topology.replicas[0].tcp_url)
        assert f"follows 127.0.0.1:{nodes.topology.master.port}, link up" in said


async def test_embedded_redis_of_a_running_service_is_shown(tmp_path: Path) -> None:
    async with embedded_redis(Settings(data_dir=tmp_path, dimension=DIMENSION)) as running:
        status, said = run_app("topology", data_dir=tmp_path)
        assert (status, said.splitlines()[0].split()[2]) == (0, str(running.master.port))
