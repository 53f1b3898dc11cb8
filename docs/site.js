// What the theme leaves out for those who do not see the page, or use no mouse: names of regions, and tables that the keyboard can scroll.
"use strict";
(() => {
  let blocks = 0, tables = 0;
  const name = () => {
    document.querySelectorAll(".md-search[role=dialog]:not([aria-label])").forEach(box => box.setAttribute("aria-label", "Search"));
    document.querySelectorAll(".md-code__nav:not([aria-label])").forEach(bar => bar.setAttribute("aria-label", `Tools of code block ${++blocks}`));
    document.querySelectorAll(".md-typeset__scrollwrap:not([tabindex])").forEach(wrap => {
      wrap.setAttribute("tabindex", "0");
      wrap.setAttribute("role", "region");
      wrap.setAttribute("aria-label", `Table ${++tables}`);
    });
  };
  new MutationObserver(name).observe(document.documentElement, { childList: true, subtree: true });
  name();
})();
