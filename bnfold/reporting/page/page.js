// Zoom, pan and search of the graph. Everything it needs is in the page; nothing is fetched, no text becomes markup.
"use strict";
(() => {
  const graphs = [...document.querySelectorAll("svg.graph")];
  if (!graphs.length) return;
  const views = new Map(graphs.map(svg => [svg, start(svg)]));
  const seen = new Set();
  let current = graphs[0], hits = [], hit = -1;
  graphs.forEach(show);
  select(graphs[0].id);

  function start(svg) {
    // The first node that folding touched is in the middle, at a size at which its name can be read.
    const width = +svg.dataset.width, height = +svg.dataset.height, box = svg.getBoundingClientRect();
    const node = svg.querySelector("g.folded, g.holds, g.kept") || svg.querySelector("g[data-name]");
    const w = (box.width || 880) / 1.2, h = w * (box.width ? box.height / box.width : 0.5);
    const x = node ? +node.dataset.x - w / 2 : (width - w) / 2, y = node ? +node.dataset.y - h / 2 : 0;
    return { x, y: Math.max(-20, Math.min(y, Math.max(0, height - h))), w, fullHeight: height };
  }
  function show(svg) {
    const view = views.get(svg), box = svg.getBoundingClientRect();
    const ratio = box.width ? box.height / box.width : 0.5;
    svg.setAttribute("viewBox", `${view.x} ${view.y} ${view.w} ${view.w * ratio}`);
  }
  function zoom(svg, factor, at) {
    const view = views.get(svg), box = svg.getBoundingClientRect();
    const share = at || { x: 0.5, y: 0.5 }, ratio = box.height / box.width;
    const w = Math.min(Math.max(view.w * factor, 80), 60000);
    view.x += (view.w - w) * share.x;
    view.y += (view.w - w) * ratio * share.y;
    view.w = w;
    show(svg);
  }
  function pan(svg, dx, dy) {
    const view = views.get(svg), scale = view.w / svg.getBoundingClientRect().width;
    view.x -= dx * scale;
    view.y -= dy * scale;
    show(svg);
  }
  function select(id) {
    graphs.forEach(svg => svg.toggleAttribute("hidden", svg.id !== id));
    document.querySelectorAll("button[data-side]").forEach(b => b.setAttribute("aria-pressed", String(b.dataset.side === id)));
    current = graphs.find(svg => svg.id === id);
    if (!seen.has(current)) { seen.add(current); views.set(current, start(current)); }   // hidden, it had no size
    show(current);
  }
  function centre(node) {
    const box = current.getBoundingClientRect(), view = views.get(current);
    const w = Math.min(view.w, 700);
    view.w = w;
    view.x = +node.dataset.x - w / 2;
    view.y = +node.dataset.y - w * box.height / box.width / 2;
    document.querySelectorAll(".found").forEach(n => n.classList.remove("found"));
    node.classList.add("found");
    show(current);
  }
  function nodes(svg) { return [...svg.querySelectorAll("g[data-name]")]; }

  for (const svg of graphs) {
    let from = null;
    svg.addEventListener("pointerdown", e => { from = e; svg.setPointerCapture(e.pointerId); });
    svg.addEventListener("pointermove", e => { if (from) { pan(svg, e.clientX - from.clientX, e.clientY - from.clientY); from = e; } });
    svg.addEventListener("pointerup", () => { from = null; });
    svg.addEventListener("wheel", e => {
      if (!e.ctrlKey && document.activeElement !== svg) return;   // the page scrolls until the graph has the focus
      e.preventDefault();
      const box = svg.getBoundingClientRect();
      zoom(svg, e.deltaY > 0 ? 1.15 : 1 / 1.15, { x: (e.clientX - box.left) / box.width, y: (e.clientY - box.top) / box.height });
    }, { passive: false });
    svg.addEventListener("keydown", e => {
      const moves = { ArrowLeft: [60, 0], ArrowRight: [-60, 0], ArrowUp: [0, 60], ArrowDown: [0, -60] };
      if (moves[e.key]) pan(svg, ...moves[e.key]);
      else if (e.key === "+" || e.key === "=") zoom(svg, 1 / 1.3);
      else if (e.key === "-") zoom(svg, 1.3);
      else if (e.key === "0") { views.set(svg, start(svg)); show(svg); }
      else return;
      e.preventDefault();
    });
  }
  document.querySelectorAll("button[data-side]").forEach(b => b.addEventListener("click", () => select(b.dataset.side)));
  document.querySelectorAll("button[data-zoom]").forEach(b => b.addEventListener("click", () => zoom(current, +b.dataset.zoom)));
  document.getElementById("whole").addEventListener("click", () => {
    const view = views.get(current), box = current.getBoundingClientRect();
    view.w = Math.max(+current.dataset.width, view.fullHeight * box.width / box.height);
    view.x = (+current.dataset.width - view.w) / 2;
    view.y = 0;
    show(current);
  });
  document.querySelectorAll("button[data-show]").forEach(b => b.addEventListener("click", () => {
    for (const svg of [current, ...graphs]) {
      const node = nodes(svg).find(n => n.dataset.name === b.dataset.show);
      if (node) { select(svg.id); centre(node); svg.scrollIntoView({ block: "center" }); return; }
    }
  }));
  const search = document.getElementById("search"), said = document.getElementById("hits");
  search.addEventListener("input", () => {
    const wanted = search.value.toLowerCase();
    hits = wanted ? nodes(current).filter(n => n.dataset.name.toLowerCase().includes(wanted) || n.dataset.op.toLowerCase() === wanted) : [];
    hit = -1;
    next();
  });
  search.addEventListener("keydown", e => { if (e.key === "Enter") { e.preventDefault(); next(); } });
  function next() {
    said.textContent = search.value ? `${hits.length} found` : "";
    if (!hits.length) return;
    hit = (hit + 1) % hits.length;
    centre(hits[hit]);
    said.textContent = `${hit + 1} of ${hits.length}`;
  }
  addEventListener("resize", () => show(current));
})();
