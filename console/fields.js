// A form's fields, each with room for what the server says of it.
import { make, write } from "/console/elements.js";

let count = 0;

// {row, input, say}: the labelled input; `say` writes beside it what is wrong with it, "" when nothing is.
export function field(label, input, hint = "") {
  count += 1;
  const problem = make("span", { class: "problem", id: `problem-${count}` });
  input.id ||= `field-${count}`;
  input.setAttribute("aria-describedby", hint ? `hint-${count} ${problem.id}` : problem.id);
  const row = make("div", { class: "field" }, make("label", { for: input.id }, label), input, hint ? make("span", { class: "hint", id: `hint-${count}` }, hint) : null, problem);
  const say = (text) => {
    write(problem, text);
    if (text) input.setAttribute("aria-invalid", "true");
    else input.removeAttribute("aria-invalid");
  };
  input.addEventListener("input", () => say(""), { capture: true }); // before others look at it again
  return { row, input, say };
}

// The field that a refusal names: it begins with it, or says where in the body it is.
export function fieldNamed(detail, names) {
  const said = /at `\$\.(?:changes\.)?(\w+)/.exec(detail)?.[1] ?? /^(?:body: )?(?:zone '.*?': )?`?(\w+)/.exec(detail)?.[1];
  return names.includes(said) ? said : null;
}
