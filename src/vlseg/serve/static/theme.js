"use strict";
// Before the first paint: the colours that were chosen in this browser; without a choice the system's.
{
  const chosen = localStorage.getItem("vlseg-colours");
  if (chosen === "light" || chosen === "dark") document.documentElement.dataset.colours = chosen;
}
