"""How deep lists and objects are nested in a JSON value."""


def is_deeper(value: object, levels: int) -> bool:
    """Say whether lists and objects are nested in each other more than `levels` deep. `levels` is at least 1.

    Works level by level instead of recursively, so that a hostile value can't exhaust the stack.
    """
    level = [value] if isinstance(value, dict | list) else []
    for _ in range(levels):
        level = [
            inner
            for outer in level
            for inner in (outer.values() if isinstance(outer, dict) else outer)
            if isinstance(inner, dict | list)
        ]
        if not level:
            return False
    return True
