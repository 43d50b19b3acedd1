"""How the service is reached, for VectorDBBench."""

from pydantic import BaseModel, SecretStr

from ..api import DBCaseConfig, DBConfig, MetricType


class CoinswarmMemoryConfig(DBConfig):
    """`url` of the service; `key` where it asks for one."""

    url: str = "http://127.0.0.1:8000"
    key: SecretStr | None = None

    def to_dict(self) -> dict:
        """Return the arguments of the client's constructor."""
        return {"url": self.url, "key": self.key.get_secret_value() if self.key else None}


class CoinswarmMemoryCaseConfig(BaseModel, DBCaseConfig):
    """The service chooses its index by the size of a tenant; only COSINE is there."""

    metric_type: MetricType | None = None

    def index_param(self) -> dict:
        """Return no parameters: there is nothing to set."""
        return {}

    def search_param(self) -> dict:
        """Return no parameters: there is nothing to set."""
        return {}
