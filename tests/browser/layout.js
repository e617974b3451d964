// What lies where on the canvas: nodes that overlap or fall outside their group, and links that pass behind other nodes.
() => {
  const { ds, canvas } = app.canvas;
  const corner = canvas.getBoundingClientRect();
  const boxes = new Map();
  for (const node of app.graph.nodes) {
    const element = document.querySelector(`[data-node-id="${node.id}"]`);
    const [x, y, width, height] = node.getBounding();
    const box = { left: x, top: y, right: x + width, bottom: y + height };
    if (LiteGraph.vueNodesMode && element) {
      // With what hangs below: the bar of an error, of advanced inputs.
      const lowest = Math.max(element.getBoundingClientRect().bottom, ...[...element.children].map((part) => part.getBoundingClientRect().bottom));
      box.bottom = Math.max(box.bottom, (lowest - corner.top) / ds.scale - ds.offset[1]);
    }
    boxes.set(String(node.id), { ...box, title: `${node.title} ${node.id}` });
  }
  const all = [...boxes.values()];
  const meet = (a, b) => a.left < b.right && b.left < a.right && a.top < b.bottom && b.top < a.bottom;
  const overlaps = all.flatMap((a, i) => all.slice(i + 1).filter((b) => meet(a, b)).map((b) => `${a.title} / ${b.title}`));
  const groups = app.graph.groups.map((group) => {
    const [left, top, width, height] = group.boundingRect;
    return { title: group.title, left, top, right: left + width, bottom: top + height };
  });
  const inside = (a, b) => a.left >= b.left && a.right <= b.right && a.top >= b.top && a.bottom <= b.bottom;
  const cut = all.flatMap((box) => groups.filter((group) => meet(box, group) && !inside(box, group)).map((group) => `${box.title} / ${group.title}`));
  const crossings = [];
  const links = [...app.graph.links.values()];
  for (const link of links) {
    const [from, to] = [app.graph.getNodeById(link.origin_id), app.graph.getNodeById(link.target_id)];
    const [x0, y0] = from.getOutputPos(link.origin_slot);
    const [x3, y3] = to.getInputPos(link.target_slot);
    // The curve that ComfyUI draws.
    const reach = 0.25 * Math.hypot(x3 - x0, y3 - y0);
    const behind = new Set();
    for (let i = 0; i <= 200; i++) {
      const [t, u] = [i / 200, 1 - i / 200];
      const x = u ** 3 * x0 + 3 * u * u * t * (x0 + reach) + 3 * u * t * t * (x3 - reach) + t ** 3 * x3;
      const y = u ** 3 * y0 + 3 * u * u * t * y0 + 3 * u * t * t * y3 + t ** 3 * y3;
      for (const [id, box] of boxes) {
        if (id === String(link.origin_id) || id === String(link.target_id)) continue;
        if (x > box.left && x < box.right && y > box.top && y < box.bottom) behind.add(box.title);
      }
    }
    crossings.push(...[...behind].map((title) => `${from.title} ${from.id} - ${to.title} ${to.id} behind ${title}`));
  }
  const backwards = links
    .map((link) => [boxes.get(String(link.origin_id)), boxes.get(String(link.target_id))])
    .filter(([from, to]) => from.right > to.left)
    .map(([from, to]) => `${from.title} - ${to.title}`);
  return { overlaps, cut, crossings, backwards };
}
