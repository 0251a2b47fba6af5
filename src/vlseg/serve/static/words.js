// What is said: always one of three states with its reason, never a bare empty mask.

const GROUPED = new Intl.NumberFormat("en");

export const count = (value) => GROUPED.format(value);
export const hundredths = (k) => (k / 100).toFixed(2);

export const BADGES = { found: "Found", not_found: "Not found by this model", cannot_judge: "Cannot judge" };

/** "1,234 px", and mm² where the server knows the spacing. */
export function areaWords(pixels, spacing) {
  const more = spacing ? `, ${(pixels * spacing[0] * spacing[1]).toFixed(1)} mm²` : "";
  return `${count(pixels)} px${more}`;
}

export function thresholdWords(row) {
  const own = row.result.threshold * 100;
  if (row.k !== null) return hundredths(row.k);
  return Math.abs(own - Math.round(own)) < 1e-6 ? hundredths(Math.round(own)) : (own / 100).toFixed(4);
}

/** The sentence for a prompt's state. */
export function stateSentence(row, familiar, size) {
  const threshold = thresholdWords(row);
  const share = ((100 * row.modelArea) / size).toFixed(row.modelArea / size < 0.01 ? 2 : 1);
  if (row.state === "found")
    return `Found: the model marks ${count(row.modelArea)} px (${share} % of the image) at threshold ${threshold}.`;
  if (row.state === "not_found") {
    const highest = row.highest === null ? "" : `; the highest probability is at most ${hundredths(row.highest)}`;
    return (
      `Not found by this model: no pixel is above the threshold ${threshold}${highest}. ` +
      "This does not say that it is not there."
    );
  }
  if (familiar?.state === "unlike")
    return (
      `Cannot judge: this image is unlike those that the model was trained on (${familiar.reasons.join("; ")}). ` +
      (row.modelArea
        ? "The mask is shown all the same, with a broken line; do not rely on it."
        : "Its mask is empty, which does not say that nothing is there.")
    );
  return "Cannot judge: the model's answer is not made of numbers. Do not rely on the mask.";
}

/** With two decimals; never 0 or 1 for what is only close to it. */
export function presenceNumber(score) {
  if (score > 0.995 && score < 1) return ">\u00a00.99";
  return score < 0.005 && score > 0 ? "<\u00a00.01" : score.toFixed(2);
}

export function presenceSentence({ score, calibrated, n }, state) {
  if (score === null) return "The model gives no presence score.";
  if (state === "cannot_judge")
    return `Presence score ${presenceNumber(score)}; no probability for an image that the model cannot judge.`;
  if (calibrated)
    return `Probability that it is there: ${presenceNumber(score)} (calibrated on n = ${n} validation samples).`;
  return `Presence score ${presenceNumber(score)}; not calibrated, so no probability.`;
}

export function presenceShort({ score, calibrated, n }) {
  if (score === null) return "";
  return calibrated ? `presence ${presenceNumber(score)} (n = ${n})` : `presence score ${presenceNumber(score)}`;
}

/** One line about the image, "" where there is nothing to warn of. */
export function familiarSentence(familiar) {
  if (familiar.state === "unlike")
    return `The model cannot judge this image: it is unlike its training images (${familiar.reasons.join("; ")}).`;
  if (familiar.state === "unknown")
    return "This model has nothing stored to tell whether an image is like those that it was trained on.";
  return "";
}

/** For screen readers and the line below the image. */
export function rowStatus(row, spacing) {
  const name = `“${row.prompt}”`;
  if (row.error) return `${name}: ${row.error}`;
  if (!row.result) return `${name}: asking`;
  const parts = [BADGES[row.state], areaWords(row.area, spacing), presenceShort(row.result.presence)];
  if (row.edit) parts.push("corrected by hand");
  if (row.result.unknown_words.length) parts.push(`rare or absent in training: ${row.result.unknown_words.join(", ")}`);
  return `${name}: ${parts.filter(Boolean).join(", ")}`;
}
