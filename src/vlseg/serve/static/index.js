"use strict";
const list = document.getElementById("models");
const line = (text) => Object.assign(document.createElement("li"), { textContent: text });
fetch("/v1/models")
  .then((answer) => (answer.ok ? answer.json() : Promise.reject(new Error(`status ${answer.status}`))))
  .then(({ models }) => list.replaceChildren(...models.map((one) => line(one.default ? `${one.name} (default)` : one.name))))
  .catch((error) => list.replaceChildren(line(`cannot be listed: ${error.message}`)));
