// Rules that hold on every page of the console, for tests. Each function returns a list of sentences: what breaks a rule.
(() => {
  const visible = (one) => one.checkVisibility({ checkOpacity: true, checkVisibilityCSS: true }) && !one.closest(".unseen, .skip, [inert]");
  const described = (one) => `<${one.localName}${one.id ? ` id=${one.id}` : ""}> ${(one.textContent || one.name || "").trim().replace(/\s+/g, " ").slice(0, 50)}`;
  // An open dialog hides the rest of the page.
  const root = () => document.querySelector("dialog[open]") || document;

  // What a screen reader's user finds their way by.
  function structure() {
    const found = [];
    const say = (rule, one) => found.push(`${rule}: ${described(one)}`);
    const headings = [...root().querySelectorAll("h1, h2, h3, h4, h5, h6")].filter((one) => one.checkVisibility());
    if (headings.filter((one) => one.localName === "h1").length !== 1) found.push("not exactly one h1");
    headings.reduce((before, one) => {
      const level = Number(one.localName[1]);
      if (level > before + 1) say("a level of headings is skipped", one);
      return level;
    }, 0);
    for (const kind of ["header.top", "main"]) if (document.querySelectorAll(kind).length !== 1) found.push(`not exactly one ${kind}`);
    const names = [...document.querySelectorAll("nav")].map((one) => one.getAttribute("aria-label"));
    if (names.some((name, at) => !name || names.indexOf(name) !== at)) found.push(`navigations without a name of their own: ${names}`);
    for (const table of document.querySelectorAll("table")) {
      if (!table.caption) say("a table without a caption", table);
      for (const head of table.querySelectorAll("thead th")) if (head.scope !== "col" || !head.textContent.trim()) say("a column without a name", table);
      for (const row of table.tBodies[0].rows) if (!table.matches(".audit") && !row.querySelector("th[scope=row], .first")) say("a row without a name", row);
      if (!table.matches(".cards")) continue;
      // Cards are no tables for browsers, except by these roles.
      for (const [part, role] of [["table", "table"], ["thead, tbody", "rowgroup"], ["tr", "row"], ["thead th", "columnheader"], ["tbody th", "rowheader"], ["td", "cell"]]) {
        for (const one of [table, ...table.querySelectorAll(part)]) if (one.closest("table") === table && one.matches(part) && one.getAttribute("role") !== role) say(`no role ${role}`, one);
      }
      for (const cell of table.querySelectorAll(":scope > tbody > tr > td")) {
        if (!cell.matches("[data-label], .first, .box, .more") && !cell.querySelector("a, button") && cell.textContent.trim()) say("a card's value without a label", cell);
      }
    }
    const ids = [...document.querySelectorAll("[id]")].map((one) => one.id);
    for (const id of ids.filter((one, at) => ids.indexOf(one) !== at)) found.push(`an id twice: ${id}`);
    for (const region of document.querySelectorAll("[role=status], [role=alert]")) if (region.parentElement.closest("[role=status], [role=alert]")) say("a live region in another", region);
    for (const time of document.querySelectorAll("time")) {
      if (!/\d{4}/.test(time.firstChild.data) || !/^\d{4}-\d\d-\d\d \d\d:\d\d:\d\d UTC$/.test(time.title)) say("a time without its date", time);
    }
    return found;
  }

  // Enter in a field or on a checkbox presses the first button of the form.
  function enter() {
    const found = [];
    for (const form of document.forms) {
      if (![...form.elements].some((one) => one.matches("input:not([type=hidden]), select"))) continue;
      const buttons = [...form.elements].filter((one) => one.matches("button:not([type=button]), [type=submit]"));
      const first = buttons[0];
      if (!first) found.push(`a form without a button: ${form.getAttribute("action")}`);
      else if (first.hasAttribute("formaction") || (buttons.length > 1 && first.name)) found.push(`Enter presses ${described(first)} of ${form.getAttribute("action")}`);
    }
    return found;
  }

  // Lines of text and controls, as far as they are visible.
  function boxes() {
    const found = [];
    const walker = document.createTreeWalker(root() === document ? document.body : root(), NodeFilter.SHOW_TEXT | NodeFilter.SHOW_ELEMENT);
    for (let node = walker.nextNode(); node; node = walker.nextNode()) {
      const element = node.nodeType === Node.TEXT_NODE ? node.parentElement : node;
      let rects;
      if (node.nodeType === Node.TEXT_NODE) {
        if (!node.data.trim() || !visible(element) || element.closest("svg, option, textarea, script, style")) continue;
        const range = document.createRange();
        range.selectNodeContents(node);
        rects = [...range.getClientRects()];
      } else if (element.matches("input:not([type=hidden]), select, textarea, button, .button") && visible(element)) rects = [element.getBoundingClientRect()];
      else continue;
      for (const { left, right, top, bottom } of rects) {
        const box = { node, element, left, right, top, bottom, scrolls: false };
        for (let one = element; one && one !== document.documentElement; one = one.parentElement) {
          const style = getComputedStyle(one);
          if (/sticky|fixed/.test(style.position)) box.sticks = one;
          if (style.overflowX === "visible" || one.localName === "body") continue;
          const clip = one.getBoundingClientRect();
          box.left = Math.max(box.left, clip.left), box.right = Math.min(box.right, clip.right);
          box.top = Math.max(box.top, clip.top), box.bottom = Math.min(box.bottom, clip.bottom);
        }
        if (box.right - box.left > 1 && box.bottom - box.top > 1) found.push(box);
      }
    }
    return found;
  }

  // What does not fit into the window, or lies on something else.
  function layout() {
    const found = [], width = document.documentElement.clientWidth;
    if (document.documentElement.scrollWidth > width) found.push(`${document.documentElement.scrollWidth} px of content`);
    const all = boxes();
    for (const one of all) if (one.right > width + 1 || one.left < -1) found.push(`beyond the window: ${described(one.element)}`);
    all.sort((one, other) => one.top - other.top);
    const menu = document.querySelector("details.menu[open]");
    for (let at = 0; at < all.length; at++) {
      const one = all[at];
      for (let next = at + 1; next < all.length && all[next].top < one.bottom - 3; next++) {
        const other = all[next];
        if (one.node === other.node || one.sticks !== other.sticks || one.element.contains(other.element) || other.element.contains(one.element)) continue;
        if (menu && menu.contains(one.element) !== menu.contains(other.element)) continue;
        const across = Math.min(one.right, other.right) - Math.max(one.left, other.left);
        const down = Math.min(one.bottom, other.bottom) - other.top;
        if (across > 3 && down > 3) found.push(`overlap: ${described(one.element)} | ${described(other.element)}`);
      }
    }
    return [...new Set(found)].slice(0, 5);
  }

  // The next step of the tabulator key: faults of the element that has the focus, and whether it is the last one.
  let first, before = document.body;
  function focus() {
    const one = document.activeElement, found = [];
    if (one === document.body || one === first) return { ends: true, found };
    first ||= one;
    const style = getComputedStyle(one), { left, top, width, height } = one.getBoundingClientRect();
    if (!(before.compareDocumentPosition(one) & Node.DOCUMENT_POSITION_FOLLOWING)) found.push(`not in order: ${described(one)}`);
    if (style.outlineStyle === "none" || parseFloat(style.outlineWidth) < 2) found.push(`focus is not visible: ${described(one)}`);
    // Of large elements, the upper end. A checkbox is beside others' text in its label.
    const seen = document.elementFromPoint(left + Math.min(width, 40) / 2, top + Math.min(height, 40) / 2);
    if (!seen || !(one.contains(seen) || seen.contains(one))) found.push(`hidden with the focus: ${described(one)} behind ${seen && described(seen)}`);
    before = one;
    return { ends: false, found };
  }

  return { structure, enter, layout, focus };
})()
