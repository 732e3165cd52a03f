"""Key files of keys that a test has made."""


def write_keys(path, keys):
    """A TOML file of some keys."""
    lines = []
    for key in keys:
        lines += [
            "[[key]]",
            f'algorithm = "{key.algorithm}"',
            f'secret_hex = "{key.secret.hex()}"',
        ]
        if key.name:
            lines.append(f'name = "{key.name}"')
        if not key.is_tcp_md5:
            lines += [
                f"send_id = {key.send_id}",
                f"recv_id = {key.recv_id}",
                f"mac_length = {key.mac_length}",
                f"exclude_options = {str(key.exclude_options).lower()}",
            ]
        for side in ("local", "remote"):
            if getattr(key, side) is not None:
                lines.append(f'{side} = "{getattr(key, side)}"')
            ports = getattr(key, f"{side}_port")
            if ports is not None:
                shown = ports if isinstance(ports, int) else '"{}-{}"'.format(*ports)
                lines.append(f"{side}_port = {shown}")
        if key.vrf is not None:
            lines.append(f"vrf = {key.vrf}")
    path.write_text("\n".join(lines) + "\n")
    path.chmod(0o600)
    return path
