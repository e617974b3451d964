"""Whether a prompt uses a sampler's latent. No node can see that in time: what it gives is cached by its inputs alone."""

from typing import Any

SAMPLER, LATENT_SLOT = "MagicBokehSampler", 1
IS_USED = "latent_is_used"


def note_used_latents(request: dict[str, Any]) -> dict[str, Any]:
    """A prompt on its way into ComfyUI, with one more input for samplers whose latent costs something.

    ComfyUI passes it to no node, but runs a node again when it has changed.
    """
    prompt = request.get("prompt")
    if not isinstance(prompt, dict):  # ComfyUI says what is wrong with it
        return request
    nodes = {key: node for key, node in prompt.items() if isinstance(node, dict) and isinstance(node.get("inputs"), dict)}
    linked = [value for node in nodes.values() for value in node["inputs"].values()]
    for key, node in nodes.items():
        if node.get("class_type") == SAMPLER and node["inputs"].get("preset") != "fast":
            node["inputs"][IS_USED] = [key, LATENT_SLOT] in linked
    return request


def latent_is_used(prompt: dict[str, Any] | None, node_id: str | None) -> bool:
    """False if the prompt that is run surely doesn't use it; nodes that others made while running are not in there."""
    node = (prompt or {}).get(node_id, {"inputs": {}})
    return node["inputs"].get(IS_USED, True)
