/** The texts of the canvas in the user's language, from the pack's `locales/`. */

let words = {};
let english = {};

/** Fetch the texts, once, before any canvas is made. */
export async function loadWords(api, language) {
  try {
    const all = await (await api.fetchApi("/i18n")).json();
    english = all.en?.flowinoneCanvas ?? {};
    words = all[language]?.flowinoneCanvas ?? all[language.split("-")[0]]?.flowinoneCanvas ?? {};
  } catch {
    // Without the texts the keys are shown, and everything else works.
  }
}

/** The text for a key, with `{name}` replaced by values. */
export function t(key, values = {}) {
  const text = words[key] ?? english[key] ?? key;
  return text.replace(/\{(\w+)\}/g, (whole, name) => values[name] ?? whole);
}

/** A task's name: its translation, else Python's title. */
export function taskTitle(task, info) {
  return words[`task_${task}`] ?? info.title;
}
