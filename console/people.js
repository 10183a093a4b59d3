// The names that go with logins: acts are on record under logins, which nobody chooses for themselves.
import { list } from "/console/api.js";
import { session } from "/console/session.js";
import { actorWord, labels } from "/console/words.js";

const MOST = 1000;
const MAY_LIST = new Set(["supervisor", "admin", "platform"]);
const names = new Map();

// Only a supervisor may list users; everybody else knows their own name.
async function learn() {
  names.clear();
  if (session.login) names.set(session.login, session.name);
  if (!MAY_LIST.has(session.role)) return;
  try {
    for (const user of await list("/users", { most: MOST })) names.set(user.login, user.name);
  } catch (error) {
    console.warn(labels.people.unknown(error.message));
  }
}

session.addEventListener("opened", learn);

// "Ann (ann@x.org)"; the login alone where no other name is known.
export function who(by) {
  const name = names.get(by);
  return name && name !== by ? `${name} (${by})` : actorWord(by);
}
