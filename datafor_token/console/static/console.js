// Enhancements only: every page works without this script. No framework, no inline code, nothing from other hosts.
"use strict";
(() => {
  const words = document.body.dataset;
  const language = document.documentElement.lang;
  // Dates in the reader's variant of the page's language: en-GB and en-US write them differently.
  const variant = navigator.languages.find((one) => one.slice(0, 2) === language.slice(0, 2)) || language;

  // Times in the reader's time zone; the server gives them in UTC, which remain on hover and for screen readers.
  const local = new Intl.DateTimeFormat(variant, { dateStyle: "medium", timeStyle: "short" });
  const exact = new Intl.DateTimeFormat(variant, { dateStyle: "medium", timeStyle: "medium" });
  const clock = new Intl.DateTimeFormat(variant, { timeStyle: "short" });
  function localize(root) {
    for (const time of root.querySelectorAll("time[datetime]:not([title])")) {
      const utc = time.dateTime.replace("T", " ").replace("Z", " UTC");
      time.title = utc;
      time.textContent = ("seconds" in time.dataset ? exact : local).format(new Date(time.dateTime));
      time.append(unseen(` (${utc})`));
    }
    for (const hour of root.querySelectorAll("[data-hour]")) hour.textContent = clock.format(new Date(hour.dataset.hour));
  }
  function unseen(text) {
    const part = document.createElement("span");
    part.className = "unseen";
    part.textContent = text;
    return part;
  }

  // One region for what screen readers announce. An open dialog hides all that is outside it.
  const region = unseen("");
  region.setAttribute("role", "status");
  function announce(text) {
    (document.querySelector("dialog[open]") || document.body).append(region);
    region.textContent = "";
    setTimeout(() => { region.textContent = text; }, 100);
  }
  // A live region is silent about what it has when the page is loaded, and announces what is put into it.
  function announceMessages() {
    for (const one of document.querySelectorAll(".notice[role=status]")) {
      const text = one.querySelector("p") || one;
      setTimeout(() => text.replaceChildren(...text.cloneNode(true).childNodes), 100);
    }
  }

  // A page of which a part is used, or undefined if it must be opened as a whole: in an outage, or when the session has
  // ended. The header leaves the messages for the next page that is opened.
  async function fetchPage(url) {
    try {
      const response = await fetch(url, { headers: { Accept: "text/html", "X-Requested-With": "fetch" } });
      if (response.ok && !response.redirected) return new DOMParser().parseFromString(await response.text(), "text/html");
    } catch { /* the browser says why when it opens the page */ }
    return undefined;
  }

  // A copy button for each text that is meant to be copied.
  function addCopyButtons(root) {
    for (const source of root.querySelectorAll("[data-copyable]")) {
      const button = document.createElement("button");
      const labelledBy = source.getAttribute("aria-labelledby");
      const label = labelledBy ? document.getElementById(labelledBy) : (source.labels || [])[0];
      const name = label ? label.textContent : "";
      button.type = "button";
      button.textContent = words.copy;
      if (name) button.setAttribute("aria-label", `${words.copy}: ${name}`);
      button.addEventListener("click", async () => {
        const text = "value" in source ? source.value : source.textContent;
        if (navigator.clipboard) await navigator.clipboard.writeText(text);
        else copyFromTextarea(text, button);
        button.textContent = words.copied;
        announce(name ? `${words.copied}: ${name}` : words.copied);
        setTimeout(() => { button.textContent = words.copy; }, 2000);
      });
      source.before(button);
      if ("value" in source) source.after(button);
    }
  }
  // Over plain http, browsers give scripts no clipboard API; this deprecated command still works.
  function copyFromTextarea(text, button) {
    const area = document.createElement("textarea");
    area.value = text;
    button.after(area);
    area.select();
    document.execCommand("copy");
    area.remove();
    button.focus();
  }

  // A checkbox in the table's head that selects all rows of the page, and the number of those that are selected.
  function addSelectAll(root) {
    for (const head of root.querySelectorAll("[data-all]")) {
      const table = head.closest("table");
      const boxes = [...table.querySelectorAll("tbody input[type=checkbox]")];
      const count = table.closest("form").querySelector("[data-bulk] [data-count]");
      const all = document.createElement("input");
      all.type = "checkbox";
      all.setAttribute("aria-label", words.selectAll);
      function update() {
        const number = boxes.filter((one) => one.checked).length;
        const others = table.closest("form").querySelectorAll("[data-kept]").length;
        all.checked = number > 0 && number === boxes.length;
        all.indeterminate = number > 0 && number < boxes.length;
        if (!count) return;
        const text = count.dataset[others ? "others" : number ? "count" : "none"].replace("#", number + others).replace("@", others);
        if (count.textContent !== text) count.textContent = text; // each change is announced
      }
      all.addEventListener("change", () => {
        for (const box of boxes) box.checked = all.checked;
        update();
      });
      table.tBodies[0].addEventListener("change", update);
      head.append(all);
      update(); // a page from the browser's history comes with its checkboxes
      if (count) count.setAttribute("role", "status"); // from now on, changes are announced
    }
  }

  // Filtering while typing: load the page with the new query and take its results.
  function filterWhileTyping(form) {
    const target = document.getElementById(form.dataset.live);
    let timer, latest = 0, selected = [];
    async function update() {
      const number = ++latest;
      const url = `${location.pathname}?${new URLSearchParams(new FormData(form))}`;
      const page = await fetchPage(url);
      if (number !== latest) return;
      const results = page && page.getElementById(form.dataset.live);
      if (!results) { location.assign(url); return; }
      if (target.querySelector("[data-bulk]")) selected = [...target.querySelectorAll("tbody input:checked, [data-kept]")];
      target.replaceChildren(...results.childNodes);
      if (target.querySelector("[data-bulk]")) select(target.querySelector("[data-bulk]").closest("form"), selected);
      history.replaceState(null, "", url);
      enhance(target);
      const table = target.querySelector("table");
      const found = target.querySelector("[data-found], .empty, .summary");
      announce(found ? found.textContent.trim() : `${table.caption.textContent}: ${table.tBodies[0].rows.length}`);
    }
    form.addEventListener("input", () => { clearTimeout(timer); timer = setTimeout(update, 250); });
    form.addEventListener("submit", () => clearTimeout(timer));
  }
  // Rows that were selected remain selected, also those that are not among the results.
  function select(form, boxes) {
    const shown = [...form.querySelectorAll("tbody input[type=checkbox]")];
    for (const { name, value } of boxes) {
      const box = shown.find((one) => one.value === value);
      if (box) box.checked = true;
      else form.append(Object.assign(document.createElement("input"), { type: "hidden", name, value }));
      if (!box) form.lastChild.dataset.kept = "";
    }
  }

  // Show only the key field that the algorithm needs: shared secret or public key.
  function showKeyField(select) {
    const parts = select.form.querySelectorAll("[data-for]");
    function update() {
      const shared = "shared" in select.selectedOptions[0].dataset;
      for (const part of parts) part.hidden = (part.dataset.for === "shared") !== shared && !part.querySelector("[aria-invalid]");
    }
    select.addEventListener("change", update);
    update();
  }

  let asked; // until its dialog is open
  // A question before an action opens in a dialog. Whatever goes wrong, the link is followed as without a script.
  async function ask(link) {
    const page = await fetchPage(link.href);
    const question = page && page.getElementById("question");
    if (!question) {
      location.assign(link.href);
      return;
    }
    const dialog = document.createElement("dialog");
    dialog.tabIndex = -1;
    const title = question.querySelector("h1, h2");
    title.id = "question-title";
    dialog.setAttribute("aria-labelledby", title.id);
    question.className = "";
    dialog.append(question);
    dialog.addEventListener("click", (event) => {
      if (!event.target.closest("[data-close]")) return;
      event.preventDefault();
      dialog.close();
    });
    dialog.addEventListener("close", () => {
      dialog.remove();
      link.focus();
    });
    document.body.append(dialog);
    enhance(dialog);
    dialog.showModal();
    // Neither the button that does it, nor the way out: what is read first is the question.
    (dialog.querySelector("input:not([type=hidden], .unseen), textarea, select") || dialog).focus();
  }
  document.addEventListener("click", (event) => {
    const link = event.target.closest("a[data-dialog]");
    if (!link || event.button || event.ctrlKey || event.metaKey || event.shiftKey || event.altKey) return;
    event.preventDefault();
    if (!asked) asked = ask(link).finally(() => { asked = undefined; });
  });
  // In a page from the browser's history, the question of then is closed.
  addEventListener("pageshow", () => { for (const dialog of document.querySelectorAll("dialog")) dialog.close(); });

  // Forms with changes that are not saved: leaving the page asks, and the switches of language and theme keep them.
  const originals = new Map();
  let sent, sentAt;
  function contentOf(form) {
    return JSON.stringify([...new FormData(form)].map(([name, value]) => [name, String(value)]));
  }
  function isChanged(form) {
    return form.dataset.guard === "changed" || originals.get(form) !== contentOf(form);
  }
  function changedForms() {
    return [...document.querySelectorAll("form[data-guard]")].filter((form) => originals.has(form) && isChanged(form));
  }
  function guard(form) {
    originals.set(form, contentOf(form));
  }
  // A double click sends a form once. After some seconds it can be sent again, if the first time was in vain.
  addEventListener("submit", (event) => {
    const form = event.target;
    if (form === sent && form.method === "post" && event.timeStamp - sentAt < 3000) event.preventDefault();
    else [sent, sentAt] = [form, event.timeStamp];
  });
  addEventListener("beforeunload", (event) => { if (changedForms().some((form) => form !== sent && form.dataset.guard !== "none")) event.preventDefault(); });
  addEventListener("pageshow", () => { sent = undefined; });

  // A switch of the header sends the form that was changed, which comes back with its values; else only itself.
  for (const button of document.querySelectorAll("[data-switch]")) {
    button.addEventListener("click", () => {
      const form = changedForms().at(-1);
      const target = new URL(button.formAction);
      if (form) {
        form.id ||= "changed-form";
        target.searchParams.set("form", new URL(form.action).pathname + new URL(form.action).search);
        button.setAttribute("form", form.id);
      } else {
        target.searchParams.delete("form");
        button.setAttribute("form", "preferences");
      }
      button.formAction = target.href;
    });
  }

  // Menus close with Escape, and when something else is clicked or gets the focus.
  for (const menu of document.querySelectorAll("details.menu")) {
    menu.addEventListener("keydown", (event) => {
      if (event.key !== "Escape" || !menu.open) return;
      menu.open = false;
      menu.querySelector("summary").focus();
    });
    for (const kind of ["click", "focusin"]) {
      document.addEventListener(kind, (event) => { if (!menu.contains(event.target)) menu.open = false; });
    }
  }

  // Times that are typed: UTC without a script, which their labels say; with it, in the reader's time zone.
  function useLocalTimes() {
    const wallClock = (time) => new Date(time - time.getTimezoneOffset() * 60000).toISOString().slice(0, 19);
    for (const part of document.querySelectorAll("[data-local-text]")) part.textContent = part.dataset.localText;
    for (const input of document.querySelectorAll("input[data-local]")) {
      if (input.value) input.value = wallClock(new Date(`${input.value}Z`));
      input.form.addEventListener("formdata", (event) => {
        if (input.value) event.formData.set(input.name, new Date(input.value).toISOString());
      });
    }
    for (const link of document.querySelectorAll("a[data-today]")) {
      const target = new URL(link.href);
      target.searchParams.set("since", new Date(new Date().setHours(0, 0, 0, 0)).toISOString());
      link.href = target.href;
      if (target.href === location.href) link.setAttribute("aria-current", "true");
    }
  }

  function enhance(root) {
    localize(root);
    addCopyButtons(root);
    addSelectAll(root);
  }

  enhance(document);
  useLocalTimes();
  for (const form of document.querySelectorAll("form[data-live]")) filterWhileTyping(form);
  for (const form of document.querySelectorAll("form[data-guard]")) guard(form);
  const algorithm = document.querySelector("select#algorithm"); // not a heading of the guide
  if (algorithm) showKeyField(algorithm);
  const errors = document.querySelector("div.summary, #rehearsal");
  if (errors) errors.focus();
  announceMessages();
  // A link to a field, such as the one that mends a refused token: the field has the focus.
  const linked = document.getElementById(decodeURIComponent(location.hash.slice(1)));
  if (linked && linked.matches("input, select, textarea") && !errors) linked.focus();
})();
