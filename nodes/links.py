"""Whether a prompt uses an output that costs something. No node can see that in time: what it gives is cached by its inputs alone."""

from typing import Any

# Outputs by name and slot.
COSTLY = {
    "MagicBokehSampler": {"latent": 1},
    "MagicBokehLensBlur": {"radius": 1, "alpha": 3},
    "MagicBokehSweep": {"radius": 1, "alpha": 3},
}


def note_used_outputs(request: dict[str, Any]) -> dict[str, Any]:
    """A prompt on its way into ComfyUI, with one more input for each costly output of its nodes.

    ComfyUI passes it to no node, but runs a node again when it has changed.
    """
    prompt = request.get("prompt")
    if not isinstance(prompt, dict):  # ComfyUI says what is wrong with it
        return request
    nodes = {key: node for key, node in prompt.items() if isinstance(node, dict) and isinstance(node.get("inputs"), dict)}
    linked = [value for node in nodes.values() for value in node["inputs"].values()]
    for key, node in nodes.items():
        if node["inputs"].get("preset") == "fast":  # the sampler's latent costs nothing there
            continue
        for name, slot in COSTLY.get(node.get("class_type"), {}).items():
            node["inputs"][f"{name}_is_used"] = [key, slot] in linked
    return request


def is_used(output: str, hidden: Any) -> bool:
    """False if the prompt that is run surely doesn't use it; nodes that others made while running are not in there.

    hidden: the node's, with `prompt` and `unique_id`.
    """
    node = (hidden.prompt or {}).get(hidden.unique_id, {"inputs": {}})
    return node["inputs"].get(f"{output}_is_used", True)
