// The emergency stop's keys, whatever has the focus: Escape always, the space bar wherever it would not write a space.
const TYPED = ["text", "search", "number", "password", "email", "url", "tel"];
const isTyping = element => Boolean(element) && (element.isContentEditable || element.tagName === "TEXTAREA"
  || (element.tagName === "INPUT" && TYPED.includes(element.type)));

function onEmergencyKey(target, stop) {
  const onKey = event => {
    if (event.key !== "Escape" && (event.code !== "Space" || isTyping(event.target))) return;
    event.preventDefault();
    event.stopImmediatePropagation();
    if (event.type === "keydown" && !event.repeat) stop();
  };
  for (const kind of ["keydown", "keyup"]) target.addEventListener(kind, onKey, true);
}
