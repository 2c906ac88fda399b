"""A connection whose statements a test sees on their way to the driver, those of `jukinet.store.statement` included."""

from collections.abc import Callable
from typing import Any

from sqlalchemy import Connection


class Watched:
    """Stands for a SQLAlchemy connection and for the driver's beneath it.

    `before` and `after` are given each statement and its values.
    """

    def __init__(
        self,
        connection: Connection,
        *,
        before: Callable[[str, Any], None] = lambda _statement, _values: None,
        after: Callable[[str, Any], None] = lambda _statement, _values: None,
    ) -> None:
        self._connection = connection
        self._before = before
        self._after = after
        self.connection = self.driver_connection = self

    def __getattr__(self, name: str) -> Any:
        return getattr(self._connection, name)

    def cursor(self) -> "Watched":
        return self

    def execute(self, statement: str, values: Any) -> Any:
        return self._watched(statement, values, "execute")

    def executemany(self, statement: str, values: Any) -> Any:
        return self._watched(statement, values, "executemany")

    def _watched(self, statement: str, values: Any, how: str) -> Any:
        driver: Any = self._connection.connection.driver_connection
        self._before(statement, values)
        result = getattr(driver.cursor(), how)(statement, values)
        self._after(statement, values)
        return result
