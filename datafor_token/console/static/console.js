// Enhancements only: every page works without this script. No framework, no inline code, nothing from other hosts.
"use strict";
(() => {
  const words = document.body.dataset;
  const language = document.documentElement.lang;
  // Dates in the reader's variant of the page's language: en-GB and en-US write them differently.
  const variant = navigator.languages.find((one) => one.slice(0, 2) === language.slice(0, 2)) || language;

  // Times in the reader's time zone; the server gives them in UTC.
  const local = new Intl.DateTimeFormat(variant, { dateStyle: "medium", timeStyle: "short" });
  const clock = new Intl.DateTimeFormat(variant, { timeStyle: "short" });
  function localize(root) {
    for (const time of root.querySelectorAll("time[datetime]")) {
      time.title = time.textContent.trim();
      time.textContent = local.format(new Date(time.dateTime));
    }
    for (const hour of root.querySelectorAll("[data-hour]")) hour.textContent = clock.format(new Date(hour.dataset.hour));
  }

  // A copy button for each text that is meant to be copied.
  function addCopyButtons(root) {
    for (const source of root.querySelectorAll("[data-copyable]")) {
      const button = document.createElement("button");
      const labelledBy = source.getAttribute("aria-labelledby");
      const name = labelledBy ? document.getElementById(labelledBy).textContent : "";
      button.type = "button";
      button.textContent = words.copy;
      if (name) button.setAttribute("aria-label", `${words.copy}: ${name}`);
      button.addEventListener("click", async () => {
        const text = "value" in source ? source.value : source.textContent;
        if (navigator.clipboard) await navigator.clipboard.writeText(text);
        else copyFromTextarea(text);
        button.textContent = words.copied;
        button.setAttribute("aria-live", "polite");
        setTimeout(() => { button.textContent = words.copy; }, 2000);
      });
      source.before(button);
      if ("value" in source) source.after(button);
    }
  }
  // Over plain http, browsers give scripts no clipboard API; this deprecated command still works.
  function copyFromTextarea(text) {
    const area = document.createElement("textarea");
    area.value = text;
    document.body.append(area);
    area.select();
    document.execCommand("copy");
    area.remove();
  }

  // A checkbox in the table's head that selects all rows.
  function addSelectAll(root) {
    for (const head of root.querySelectorAll("[data-all]")) {
      const table = head.closest("table");
      const all = document.createElement("input");
      all.type = "checkbox";
      all.setAttribute("aria-label", words.selectAll);
      all.addEventListener("change", () => {
        for (const box of table.querySelectorAll("tbody input[type=checkbox]")) box.checked = all.checked;
      });
      head.append(all);
    }
  }

  // Filtering while typing: load the page with the new query and take its results.
  function filterWhileTyping(form) {
    const target = document.getElementById(form.dataset.live);
    let timer, latest = 0;
    async function update() {
      const number = ++latest;
      const url = `${location.pathname}?${new URLSearchParams(new FormData(form))}`;
      const response = await fetch(url, { headers: { Accept: "text/html" } });
      // The session has ended, or there is an error: show it as a whole page.
      if (response.redirected || !response.ok) { location.assign(url); return; }
      const page = new DOMParser().parseFromString(await response.text(), "text/html");
      const results = page.getElementById(form.dataset.live);
      if (number !== latest || !results) return;
      target.replaceChildren(...results.childNodes);
      history.replaceState(null, "", url);
      enhance(target);
    }
    form.addEventListener("input", () => { clearTimeout(timer); timer = setTimeout(update, 250); });
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

  // Enter submits the form with its main button, not with the first button in it.
  function submitWithEnter(button) {
    button.form.addEventListener("keydown", (event) => {
      if (event.key !== "Enter" || !event.target.matches("input:not([type=checkbox])")) return;
      event.preventDefault();
      button.form.requestSubmit(button);
    });
  }

  function enhance(root) {
    localize(root);
    addCopyButtons(root);
    addSelectAll(root);
  }

  enhance(document);
  for (const form of document.querySelectorAll("form[data-live]")) filterWhileTyping(form);
  for (const button of document.querySelectorAll("[data-default]")) submitWithEnter(button);
  const algorithm = document.querySelector("select#algorithm"); // not a heading of the guide
  if (algorithm) showKeyField(algorithm);
  const errors = document.querySelector("div.summary");
  if (errors) errors.focus();
})();
