// Changes a subtree into another with as few replaced nodes as a top-to-bottom walk finds, so that what the
// person has selected, and the layout, stay where nothing changed.

export function patch(old, fresh) {
  const wanted = [...fresh.childNodes];
  const had = [...old.childNodes];
  wanted.forEach((node, i) => place(old, had[i], node));
  for (const extra of had.slice(wanted.length)) extra.remove();
}

function place(parent, had, wanted) {
  if (!had) parent.append(wanted);
  else if (had.isEqualNode(wanted)) return;
  else if (had.nodeType === Node.TEXT_NODE && wanted.nodeType === Node.TEXT_NODE) had.data = wanted.data;
  else if (sameElement(had, wanted)) patch(had, wanted);
  else had.replaceWith(wanted);
}

function sameElement(a, b) {
  return a.nodeType === Node.ELEMENT_NODE && a.cloneNode(false).isEqualNode(b.cloneNode?.(false) ?? null);
}
