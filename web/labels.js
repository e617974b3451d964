// Choices of dropdowns in the user's language. ComfyUI 0.33 shows them so; 0.3.64 shows the values themselves.

import { registerOnce, wordsOfPage } from "./graph.mjs";

registerOnce("magicbokeh.labels", (node) => {
  if (!node.comfyClass?.startsWith("MagicBokeh")) return;
  const { values } = wordsOfPage();
  for (const widget of node.widgets ?? []) {
    if (widget.type === "combo") widget.options.getOptionLabel ??= (value) => values[`${widget.name}: ${value}`] ?? values[value] ?? value ?? "";
  }
});
