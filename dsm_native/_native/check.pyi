from dsm_native._native.handle import Handle

def check_segments(
    handle: Handle, repair: bool
) -> tuple[int, int, int, int, int, list[str], list[str], int]: ...
