// What every part of the desk's script stands on: the page, its words, the case it shows.

export const body = document.body;
export const said = body.dataset; // the words the server chose for this page's language
export const find = (id) => document.getElementById(id);
export const all = (selector, box = document) => [...box.querySelectorAll(selector)];
export const shownCase = () => document.querySelector("#case [data-case]")?.dataset.case ?? "";
