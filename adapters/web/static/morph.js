// Putting freshly drawn parts in place: elements of the same key stay themselves, with their focus, what
// was typed in them and whether they are folded. What this script owns is marked data-own.

export function keyOf(node) {
  return node.nodeType === 1 ? node.dataset.key || node.id || "" : "";
}

export function morph(old, fresh) {
  if (old.nodeType !== 1) {
    if (old.nodeValue !== fresh.nodeValue) old.nodeValue = fresh.nodeValue;
    return;
  }
  if (old.hasAttribute("data-own") || old.isEqualNode(fresh)) return;
  for (const { name } of [...old.attributes]) {
    if (!fresh.hasAttribute(name) && name !== "open") old.removeAttribute(name);
  }
  for (const { name, value } of fresh.attributes) {
    if (old.getAttribute(name) !== value) old.setAttribute(name, value);
  }
  if (old.tagName === "TEXTAREA") return;
  if (old.tagName === "SELECT" && old === document.activeElement) return;
  morphChildren(old, fresh);
}

export function morphChildren(box, fresh) {
  const keyed = new Map([...box.children].filter(keyOf).map((one) => [keyOf(one), one]));
  let place = box.firstChild;
  for (const node of [...fresh.childNodes]) {
    const key = keyOf(node);
    let same = key ? keyed.get(key) : place;
    while (!key && same && (keyOf(same) || same.nodeName !== node.nodeName)) same = same.nextSibling;
    if (same && same.nodeName === node.nodeName) {
      keyed.delete(key);
      morph(same, node);
    } else {
      same = node;
    }
    if (same === place) {
      place = place.nextSibling;
    } else {
      box.insertBefore(same, place);
      if (same === node && node.nodeType === 1) htmx.process(node);
    }
  }
  while (place) {
    const gone = place;
    place = place.nextSibling;
    gone.remove();
  }
}
