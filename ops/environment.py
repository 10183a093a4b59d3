def apply_environment() -> None:
    """stub until the stack is there"""
