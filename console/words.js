// The console's words in English, in one file: names of what the server sends as codes, labels, and messages.
// A code that is not listed is shown in sentence case. services/contracts/enum_words.py has the same words for alerts.
const TYPES = {
  PANIC: "Panic", SOS: "SOS", DURESS: "Duress", MEDICAL: "Medical emergency", FIRE: "Fire", MAN_DOWN: "Man down", CHECK_IN_MISSED: "Check-in missed",
  INTRUSION: "Intrusion", GEOFENCE_VIOLATION: "Geofence violation", PATROL_MISSED: "Patrol missed", PATROL_INCOMPLETE: "Patrol incomplete",
  EQUIPMENT_FAILURE: "Equipment failure", TAMPER: "Tamper", LOW_BATTERY: "Low battery", OFFLINE: "Offline", UNREADABLE_ALERT: "Unreadable alert",
  REPORTED: "Reported incident", UNKNOWN: "Unknown alert",
};
const SEVERITIES = { CRITICAL: "Critical", HIGH: "High", MEDIUM: "Medium", LOW: "Low" };
const STATUSES = { NEW: "New", ACKNOWLEDGED: "Acknowledged", IN_PROGRESS: "In progress", RESOLVED: "Resolved", FALSE_ALARM: "False alarm" };
const ACTIONS = {
  raised: "Raised", repeated: "Sent again", re_raised: "Raised again", acknowledged: "Acknowledged", started: "On the way", resolved: "Resolved",
  false_alarm: "False alarm", assigned: "Assigned", noted: "Note", shelved: "Shelved", unshelved: "Off the shelf", grouped: "Part of a storm",
  escalated: "Notifications sent", notified: "Notified", not_notified: "Not notified", cleared: "Condition over",
};
const CHANNELS = { sms: "SMS", email: "E-mail", push: "Push", url: "URL", digest: "Digest" };
const NOTIFICATIONS = { unknown: "Delivery unknown" };
const REFUSALS = { broken_json: "Broken JSON", invalid_utf8: "Not UTF-8", no_fix: "No GPS fix" };
const ZONE_KINDS = { required: "Required: guards stay inside", forbidden: "Forbidden: guards stay outside", speed: "Speed: guards keep to a limit inside" };
const ACTORS = { rule: "Rule", vigil: "Vigil" };
const FLAGS = {
  unknown_source: "Unknown source", source_disabled: "Source disabled", off_shift: "Off shift", identity_mismatch: "Identity mismatch", seen_before: "Perhaps seen before",
  severity: "Unknown severity", severity_claim: "Lower severity claimed", refused: "Refused", unreadable: "Unreadable", location: "Unreadable location", timestamp: "Time not believed",
  timestamp_offset: "Time without an offset", raw_unstorable: "Kept as bytes", msg_id_reused: "Message id used before", broken_json: "Broken JSON",
  too_many_values: "Too many values", poison: "Stopped the gateway, kept unread",
};

const sentence = (code) => {
  const words = String(code).replaceAll("_", " ").toLowerCase();
  return words.charAt(0).toUpperCase() + words.slice(1);
};
const lookUp = (words) => (code) => (Object.hasOwn(words, code) ? words[code] : sentence(code));

export const typeWord = lookUp(TYPES);
export const severityWord = lookUp(SEVERITIES);
export const statusWord = lookUp(STATUSES);
export const actionWord = lookUp(ACTIONS);
export const channelWord = lookUp(CHANNELS);
export const notificationWord = lookUp(NOTIFICATIONS);
export const refusalWord = lookUp(REFUSALS);
export const zoneKindWord = lookUp(ZONE_KINDS);
export const word = sentence;
// "received_after_outage:A/B": it reached the broker at some time between A and B; A is empty when it is not known.
const AFTER_OUTAGE = /^received_after_outage:([^/]*)\/([^/]*)$/;
export const flagWord = (code) => {
  const outage = AFTER_OUTAGE.exec(code);
  return outage ? `Received after an outage of the gateway (from ${outage[1] || "an unknown time"} to ${outage[2]})` : lookUp(FLAGS)(code);
};
export const actorWord = (by) => (Object.hasOwn(ACTORS, by) ? ACTORS[by] : by);

const within = (word) => (word === word.toUpperCase() ? word : word.charAt(0).toLowerCase() + word.slice(1));

// "Critical panic of guard-7", "Low battery of guard-7".
export const graveTitle = (alert) => `${severityWord(alert.severity)} ${within(typeWord(alert.alert_type))}`;
export const title = (alert) => `${typeWord(alert.alert_type)} of ${alert.source_id}`;

// What the banner says while alarms may not come: first what to do, for somebody who reads it at three in the morning.
const CALL_GUARDS = ["Do not rely on this page. Call every guard on shift by radio or telephone, now and every 15 minutes.", "Take alarms by telephone. Write down who, where and when."];
const CALL_HELP = "Call the person on call for Vigil, and read out the reasons below.";
export const blindWords = {
  screen: (time) => ({
    headline: `This page may be out of date since ${time}: new alarms may not show here.`,
    steps: ["Check another computer. If it has the same message, do this:", ...CALL_GUARDS, CALL_HELP],
    reasons: ["This page has received nothing from Vigil since then. It connects again by itself."],
  }),
  alarms: (time, reasons) => ({ headline: `Alarms may not arrive since ${time}: new alarms may not show here.`, steps: [...CALL_GUARDS, CALL_HELP], reasons }),
  partly: (time, reasons) => ({ headline: `Vigil works in part since ${time}. New alarms still show here.`, steps: [CALL_HELP], reasons }),
  again: (time, length) => `Vigil works again since ${time}, after ${length}. Alarms of that time arrive now: read the open alerts, and call the guards back.`,
  lost: (time) => (time === null ? "The link is lost. No data has arrived yet. It connects again by itself." : `The link is lost. The data on this page are from ${time}. It connects again by itself.`),
};

// Labels and messages by page. A function takes the values of its message.
export const labels = {
  actions: {
    assignTo: "Assign to", note: "Note", reason: "Reason", shelveFor: "For", shelveReason: "Why", cancel: "Cancel", more: "More",
    done: (action, title) => `${action}: ${title}: done.`,
    notDone: (action, title, detail) => `${action}: ${title}: not done. ${detail}`,
  },
  alert: {
    title: "Alert", back: "Back to the desk", actions: "Actions", track: "Track around the alert", timeline: "Timeline", notifications: "Notifications",
    timelineHeads: ["Time", "Action", "By", "Note"], notificationHeads: ["Time", "Step", "Recipient", "Channel", "Result", "Attempts"],
    noNotifications: "No notifications yet.", noLocation: "Location unknown", notYet: "Not yet", noFlags: "None", assigned: "Assigned", twice: "Possibly sent twice",
    status: "Status", previousHolder: "Acknowledged before by", message: "Message", received: "Received", deviceTime: "Device's time", occurrences: "Occurrences",
    location: "Location", carriedBy: "Carried by", shown: "First shown", notified: "First notification accepted", accepted: "First acknowledged", closed: "Closed", flags: "Flags",
    acceptedAt: (time) => `accepted ${time}`, after: (time, length) => `${time} (after ${length})`, ago: (time, length) => `${time} (${length} ago)`,
    occurrencesOf: (count, time) => `${count === 1 ? "1 occurrence" : `${count} occurrences`}, last ${time}`,
  },
  queue: {
    title: "Open alerts ", heads: ["Severity", "Type", "Source", "Message", "Age", "Occurrences", "Status", "Actions"], none: "No open alert.",
    keys: "Arrow keys move, Enter opens, ? lists the keys.", region: "Queue of alerts",
  },
  nearest: {
    title: "Nearest free guards", others: "Nearer guards that are not free", noLocation: "Location unknown.", noneFree: "No guard is free.",
    assign: "Assign", assignTo: (guard) => `Assign ${guard}`, assigned: (guard) => `Assigned to ${guard}.`, notAssigned: (detail) => `Not assigned. ${detail}`,
  },
  messages: {
    title: "Messages", refresh: "Refresh", rejected: "Refused messages of devices", rejectedHeads: ["Time", "Topic", "Reason", "Content"],
    letters: "Dead letters: events that the services gave up on", letterHeads: ["Last attempt", "Queue", "Reason", "Source", "Attempts", "Actions"],
    retry: "Send again", retried: "Sent again", discard: "Discard", discarded: "Discarded", sure: "Discard this message? It cannot be restored.", none: "None.",
    onlyFor: (role) => `Only for the role ${role}.`, first: (count) => `The first ${count}; \`vigil\` lists more.`, notDone: (detail) => `Not done. ${detail}`,
  },
  report: {
    severity: "Severity", raised: "Raised", accepted: "Acknowledged", within10: "Within 10 s", within40: "Within 40 s", falseAlarms: "False alarms",
    shown: "Median until shown", notified: "Median until first notification", acknowledged: "Median until acknowledged", most: "95% acknowledged within", resolved: "Median until resolved",
    channel: "Channel", made: "Made", delivered: "Delivered", failed: "Failed", unknown: "Unknown", withdrawn: "Withdrawn", underWay: "In progress", twice: "Possibly sent twice", mostAccepted: "95% accepted within",
  },
  guards: { heads: ["Guard", "Last position", "Zones", "Speed", "Accuracy"], violation: "Zone violation", inside: "Inside", none: "No guard." },
  devices: { heads: ["Device", "Family", "State", "Last message", "Conditions", "Reading"], readingHeads: ["Device's time", "Reading", "Clock"], never: "No message yet", noConditions: "None", clockGood: "Correct", clockBad: "Not believed" },
  zones: { heads: ["Zone", "Kind", "For", "State"], everybody: "All guards", enabled: "Enabled", disabled: "Disabled" },
  session: { ended: "The session has ended. Log in again to continue.", notLoggedOut: (detail) => `Logged out here. The server did not confirm: ${detail}` },
};
