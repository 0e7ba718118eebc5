// Comfort only: every page works without it. No framework, no inline code, nothing from another host.
"use strict";
(() => {
  const words = document.body.dataset;
  const language = document.documentElement.lang;
  // Dates as the reader's own kind of that language writes them: English is not one.
  const kind = navigator.languages.find((one) => one.slice(0, 2) === language.slice(0, 2)) || language;

  // Moments, which the server gives in UTC, in the reader's own time zone.
  const local = new Intl.DateTimeFormat(kind, { dateStyle: "medium", timeStyle: "short" });
  const clock = new Intl.DateTimeFormat(kind, { timeStyle: "short" });
  function localize(root) {
    for (const time of root.querySelectorAll("time[datetime]")) {
      time.title = time.textContent.trim();
      time.textContent = local.format(new Date(time.dateTime));
    }
    for (const hour of root.querySelectorAll("[data-hour]")) hour.textContent = clock.format(new Date(hour.dataset.hour));
  }

  // A copy button at everything that is made to be copied.
  function offerCopies(root) {
    for (const source of root.querySelectorAll("[data-copyable]")) {
      const button = document.createElement("button");
      const named = source.getAttribute("aria-labelledby");
      const name = named ? document.getElementById(named).textContent : "";
      button.type = "button";
      button.textContent = words.copy;
      if (name) button.setAttribute("aria-label", `${words.copy}: ${name}`);
      button.addEventListener("click", async () => {
        const text = "value" in source ? source.value : source.textContent;
        if (navigator.clipboard) await navigator.clipboard.writeText(text);
        else copyByHand(text);
        button.textContent = words.copied;
        button.setAttribute("aria-live", "polite");
        setTimeout(() => { button.textContent = words.copy; }, 2000);
      });
      source.before(button);
      if ("value" in source) source.after(button);
    }
  }
  // Over plain http a browser has no clipboard for scripts but this old way.
  function copyByHand(text) {
    const area = document.createElement("textarea");
    area.value = text;
    document.body.append(area);
    area.select();
    document.execCommand("copy");
    area.remove();
  }

  // One box that ticks all of them.
  function offerAll(root) {
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

  // Filter while typing: the server answers the same page, of which the results are taken.
  function filterLive(form) {
    const target = document.getElementById(form.dataset.live);
    let waiting, asked = 0;
    async function ask() {
      const mine = ++asked;
      const address = `${location.pathname}?${new URLSearchParams(new FormData(form))}`;
      const answer = await fetch(address, { headers: { Accept: "text/html" } });
      // Signed out meanwhile, or an error: then as a whole page.
      if (answer.redirected || !answer.ok) { location.assign(address); return; }
      const page = new DOMParser().parseFromString(await answer.text(), "text/html");
      const fresh = page.getElementById(form.dataset.live);
      if (mine !== asked || !fresh) return;
      target.replaceChildren(...fresh.childNodes);
      history.replaceState(null, "", address);
      comfort(target);
    }
    form.addEventListener("input", () => { clearTimeout(waiting); waiting = setTimeout(ask, 250); });
  }

  // Of the two kinds of keys, only the field that the algorithm asks for.
  function fitAlgorithm(select) {
    const parts = select.form.querySelectorAll("[data-for]");
    function fit() {
      const shared = "shared" in select.selectedOptions[0].dataset;
      for (const part of parts) part.hidden = (part.dataset.for === "shared") !== shared && !part.querySelector("[aria-invalid]");
    }
    select.addEventListener("change", fit);
    fit();
  }

  // Enter saves a form; it must not press the first button that happens to stand in it.
  function saveByEnter(button) {
    button.form.addEventListener("keydown", (event) => {
      if (event.key !== "Enter" || !event.target.matches("input:not([type=checkbox])")) return;
      event.preventDefault();
      button.form.requestSubmit(button);
    });
  }

  function comfort(root) {
    localize(root);
    offerCopies(root);
    offerAll(root);
  }

  comfort(document);
  for (const form of document.querySelectorAll("form[data-live]")) filterLive(form);
  for (const button of document.querySelectorAll("[data-default]")) saveByEnter(button);
  const algorithm = document.getElementById("algorithm");
  if (algorithm) fitAlgorithm(algorithm);
  const wrong = document.querySelector("div.summary");
  if (wrong) wrong.focus();
})();
