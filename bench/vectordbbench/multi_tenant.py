"""VectorDBBench's multi-tenant case on data of one's own, with recall within the tenant.

python multi_tenant.py FOLDER URL TENANTS K SECONDS CALLERS...

Runs with VectorDBBench's interpreter. `bench.studies.vectordbbench` prepares FOLDER (train, test
and neighbors as the package reads them) and calls it. Writes FOLDER/result.json.
"""

import json
import os
import sys
from dataclasses import asdict
from pathlib import Path


def main() -> int:
    """Load, search one by one and together with the package's own runners."""
    folder, url, tenants, k, seconds, *callers = sys.argv[1:]
    os.environ["DATASET_LOCAL_DIR"] = folder  # read when the package is imported
    from vectordb_bench.backend.cases import CaseType, CloudMultiTenantSearchCase
    from vectordb_bench.backend.clients import DB, MetricType
    from vectordb_bench.backend.data_source import DatasetSource
    from vectordb_bench.backend.dataset import CustomDataset, ParquetDatasetManager
    from vectordb_bench.backend.task_runner import CaseRunner, RunningStatus
    from vectordb_bench.models import CaseConfig, ConcurrencySearchConfig, TaskConfig, TaskStage

    about = json.loads((Path(folder) / "about.json").read_text())
    case = CloudMultiTenantSearchCase(tenant_count=int(tenants))
    case.dataset = ParquetDatasetManager(
        data=CustomDataset(
            name="own",
            size=about["rows"],
            dim=about["numbers"],
            metric_type=MetricType.COSINE,
            use_shuffled=False,
            with_gt=True,
            dir="data",
            file_num=1,
        )
    )
    # Upstream's case leaves recall out, for its truth is that of all tenants together.
    case.measure_recall = True
    stages = [
        TaskStage.DROP_OLD,
        TaskStage.LOAD,
        TaskStage.SEARCH_SERIAL,
        TaskStage.SEARCH_CONCURRENT,
    ]
    config = TaskConfig(
        db=DB.CoinswarmMemory,
        db_config=DB.CoinswarmMemory.config_cls(url=url),
        db_case_config=DB.CoinswarmMemory.case_config_cls()(),
        case_config=CaseConfig(
            case_id=CaseType.CloudMultiTenantSearchCase,
            custom_case={"tenant_count": int(tenants)},
            k=int(k),
            concurrency_search_config=ConcurrencySearchConfig(
                num_concurrency=[int(each) for each in callers],
                concurrency_duration=int(seconds),
                serial_cooldown=0,
            ),
        ),
        stages=stages,
    )
    runner = CaseRunner(
        run_id="multi-tenant",
        config=config,
        ca=case,
        status=RunningStatus.PENDING,
        dataset_source=DatasetSource.S3,
    )
    metric = runner.run(drop_old=True)
    (Path(folder) / "result.json").write_text(json.dumps(asdict(metric), default=float))
    return 0


if __name__ == "__main__":
    sys.exit(main())
