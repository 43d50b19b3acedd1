"""A progress bar that remembers instead of drawing: tests do without tqdm."""


class Bar:
    def __init__(self) -> None:
        self.moved = 0.0
        self.lines: list[str] = []

    def update(self, n: float) -> None:
        self.moved += n

    def write(self, s: str) -> None:
        self.lines.append(s)
