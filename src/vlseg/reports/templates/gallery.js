(() => {
  "use strict";
  const list = document.querySelector("ul.gallery");
  const form = document.getElementById("gallery-controls");
  if (!list || !form) return;
  const number = (text) => (text === "-" ? null : Number(text));
  const cards = Array.from(list.children, (item, place) => ({
    item,
    place,
    keys: item.dataset.k.split(" "),
    values: item.dataset.v.split(" ").map(number),
    name: item.querySelector("small").textContent,
    text: null,
  }));
  const collator = new Intl.Collator("en", { numeric: true });
  const count = form.querySelector(".count");
  const facets = Array.from(form.querySelectorAll("select[name=facet]"));
  const field = (name) => form.elements.namedItem(name);

  const written = (item) =>
    Array.from(item.querySelectorAll("b, bdi"), (one) => one.textContent.toLowerCase()).join("\n");

  // Words must all be there; one in "quotes" must stand alone: "p-1" is not found in p-12.
  const searched = (text) =>
    Array.from(text.toLowerCase().matchAll(/"([^"]+)"|[^\s"]+/g), (found) => {
      if (!found[1]) return (card) => card.text.includes(found[0]);
      const escaped = found[1].replace(/[.*+?^${}()|[\]\\]/g, "\\$&");
      const alone = new RegExp(`(?<![\\p{L}\\p{N}_-])${escaped}(?![\\p{L}\\p{N}_-])`, "u");
      return (card) => alone.test(card.text);
    });

  // Cards without a value come last, whatever the direction.
  const compared = (order) => {
    if (!order) return (a, b) => a.place - b.place;
    if (order === "name") return (a, b) => collator.compare(a.name, b.name) || a.place - b.place;
    const [column, sign] = order.split(" ").map(Number);
    return (a, b) => {
      const [one, two] = [a.values[column], b.values[column]];
      if (one === null || two === null) return (one === null) - (two === null) || a.place - b.place;
      return sign * (one - two) || a.place - b.place;
    };
  };

  const said = (shown) => `${shown.toLocaleString("en")} of ${cards.length.toLocaleString("en")} shown`;

  const show = () => {
    const words = searched(field("text").value);
    if (words.length) for (const card of cards) card.text ??= written(card.item);
    const wanted = facets.filter((one) => one.value !== "").map((one) => [Number(one.dataset.place), one.value]);
    const [low, high] = ["low", "high"].map((name) => (field(name).value === "" ? null : Number(field(name).value)));
    const within = (dice) =>
      (low === null && high === null) || (dice !== null && dice >= (low ?? 0) && dice <= (high ?? 1));
    const shown = cards.filter(
      (card) =>
        within(card.values[0]) &&
        wanted.every(([place, value]) => card.keys[place] === value) &&
        words.every((word) => word(card)),
    );
    shown.sort(compared(field("order").value));
    list.replaceChildren(...shown.map((card) => card.item));
    list.classList.toggle("plain", !field("outlines").checked);
    list.classList.toggle("large", field("large").checked);
    count.textContent = said(shown.length);
  };

  let waiting = 0;
  form.addEventListener("input", () => {
    clearTimeout(waiting);
    waiting = setTimeout(show, 150);
  });
  form.addEventListener("reset", () => setTimeout(show));
  form.addEventListener("submit", (event) => event.preventDefault());
  form.hidden = false;
  count.textContent = said(cards.length);
})();
