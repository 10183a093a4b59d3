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

// A server's message that stands alone begins with a capital.
export const capital = (text) => text.charAt(0).toUpperCase() + text.slice(1);

const sentence = (code) => {
  const words = String(code).replaceAll("_", " ").toLowerCase();
  return capital(words);
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
    acknowledge: "Acknowledge",
    start: "On the way",
    assign: "Assign",
    addNote: "Note",
    resolve: "Resolve",
    falseAlarm: "False alarm",
    shelve: "Shelve",
    unshelve: "Unshelve",
    assignTo: "Assign to", note: "Note", reason: "Reason", shelveFor: "For", shelveReason: "Why", cancel: "Cancel", more: "More",
    done: (action, title) => `${action}: ${title}: done.`,
    notDone: (action, title, detail) => `${action}: ${title}: not done: ${detail}`,
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
    by: (status, name) => `${status} by ${name}`,
    before: (name) => `before: ${name}`,
    assigned: (name) => `assigned to ${name}`,
    shelved: (time) => `shelved until ${time}`,
    rest: (count) => `${count} more, less urgent, are not shown.`,
    drill: "DRILL: ",
    silent: "(silent) ",
    title: "Open alerts ", heads: ["Severity", "Type", "Source", "Message", "Age", "Occurrences", "Status", "Actions"], none: "No open alert.",
    keys: "Arrow keys move, Enter opens, ? lists the keys.", region: "Queue of alerts",
  },
  nearest: {
    title: "Nearest free guards", others: "Nearer guards that are not free", noLocation: "Location unknown.", noneFree: "No guard is free.",
    assign: "Assign", assignTo: (guard) => `Assign ${guard}`, assigned: (guard) => `Assigned to ${guard}.`, notAssigned: (detail) => `Not assigned: ${detail}`,
  },
  messages: {
    moreBytes: (count) => ` and ${count} bytes more`,
    title: "Messages", refresh: "Refresh", rejected: "Refused messages of devices", rejectedHeads: ["Time", "Topic", "Reason", "Content"],
    letters: "Dead letters: events that the services gave up on", letterHeads: ["Last attempt", "Queue", "Reason", "Source", "Attempts", "Actions"],
    retry: "Send again", retried: "Sent again", discard: "Discard", discarded: "Discarded", sure: "Discard this message? It cannot be restored.", none: "None.",
    onlyFor: (role) => `Only for the role ${role}.`, first: (count) => `The first ${count}; \`vigil\` lists more.`, notDone: (detail) => `Not done: ${detail}`,
  },
  report: {
    since: "From",
    until: "To",
    show: "Show",
    heading: "Response report",
    title: "Report",
    alerts: "Alerts",
    messages: "Messages",
    drillAlerts: "Drills: alerts",
    drillMessages: "Drills: messages",
    none: "None.",
    missing: (detail) => `The report is not available: ${detail}`,
    desk: (operators, hours, rate) => `${operators === 1 ? "1 operator" : `${operators} operators`}, ${hours} hours logged in${rate === null ? "" : `, ${rate} alarms an hour of each`}.`,
    severity: "Severity", raised: "Raised", accepted: "Acknowledged", within10: "Within 10 s", within40: "Within 40 s", falseAlarms: "False alarms",
    shown: "Median until shown", notified: "Median until first notification", acknowledged: "Median until acknowledged", most: "95% acknowledged within", resolved: "Median until resolved",
    channel: "Channel", made: "Made", delivered: "Delivered", failed: "Failed", unknown: "Unknown", withdrawn: "Withdrawn", underWay: "In progress", twice: "Possibly sent twice", mostAccepted: "95% accepted within",
  },
  guards: {
    heads: ["Guard", "Last position", "Zones", "Speed", "Accuracy"], violation: "Zone violation", inside: "Inside", none: "No guard.",
    title: "Guards",
    list: "List of guards",
  },
  devices: {
    heads: ["Device", "Family", "State", "Last message", "Conditions", "Reading"], readingHeads: ["Device's time", "Reading", "Clock"], never: "No message yet", noConditions: "None", clockGood: "Correct", clockBad: "Not believed",
    battery: "Battery",
    signal: "Signal",
    title: "Devices",
    list: "List of devices",
    none: "No device.",
    all: "All devices",
    readings: "Readings",
    ofTheLast: "Of the last ",
    newest: "Newest readings",
    state: "State",
    family: "Family",
    reading: "Reading",
    conditions: "Conditions",
    notUpToDate: (detail) => `Readings are not up to date: ${detail}`,
    newestOf: (count) => `The newest ${count} readings.`,
    readingsOf: (count) => (count === 1 ? "1 reading." : `${count} readings.`),
    hours: [[6, "6 hours"], [24, "24 hours"], [168, "7 days"]],
  },
  zones: {
    heads: ["Zone", "Kind", "For", "State"], everybody: "All guards", enabled: "Enabled", disabled: "Disabled",
    badCorner: (line, content) => `line ${line} is ${content}; a corner is latitude, longitude, such as 12.97160, 77.59460`,
    title: "Zones",
    finish: "Finish the polygon",
    polygon: "Draw a polygon",
    circle: "Draw a circle",
    list: "List of zones",
    map: "Map of zones",
    none: "No zone yet.",
    centre: "Click where its centre is.",
    firstCorner: "Click where its first corner is.",
    notUpToDate: (detail) => `Zones are not up to date: ${detail}`,
    notSaved: (name, detail) => `Zone ${name} is not saved: ${detail}`,
    saved: (name) => `Zone ${name} is saved. It is in force in two seconds.`,
    nextCorner: (count) => `${count === 1 ? "1 corner" : `${count} corners`}; click the next, Enter or a double click ends it.`,
    speed: (kind, limit) => `${kind}, ${limit} m/s`,
  },
  session: {
    ended: "The session has ended. Log in again to continue.", notLoggedOut: (detail) => `Logged out here. The server did not confirm: ${detail}`,
    noResponse: (seconds) => `no response within ${seconds} s`,
  },
  common: {
    notUpToDate: (detail) => `Not up to date: ${detail}`,
    noOpenAlert: "No open alert.",
    openAlerts: "Open alerts",
    find: "Find by name",
    more: (count) => `${count} more; type a part of a name.`,
    notDrawn: (detail) => `Sites and zones are not drawn: ${detail}`,
    notDone: (detail) => `Not done: ${detail}`,
    accurate: (metres) => `accurate to ${metres} m`,
    deviceTime: "Device's time",
  },
  desk: {
    title: "Desk",
  },
  charts: {
    missing: (detail) => `The chart is not available: ${detail}. The table has the numbers.`,
  },
  link: {
    notConnected: "Not connected",
    why: "Why",
    connecting: "connecting",
    reconnecting: "link lost, connecting again",
    noEvent: "no event yet",
    lacks: (parts) => `The snapshot lacks: ${parts}. Guards and devices appear when they report.`,
    heard: (length) => `, last data ${length} ago`,
    outOfDate: (time, heard) => `out of date since ${time}${heard}`,
    lastEvent: (length) => `last event ${length} ago`,
    live: (heard, event) => `live${heard}, ${event}`,
    refused: (detail) => `A frame was refused: ${detail}`,
  },
  map: {
    noFile: "The map's file cannot be read.",
    noStyle: "The map's style cannot be read.",
    none: "No guard has reported a position yet.",
    title: "Map",
    notUpToDate: (detail) => `Sites and zones are not up to date: ${detail}`,
    lastPosition: (length) => `last position ${length} ago`,
    count: (count) => `${count === 1 ? "1 guard" : `${count} guards`} on the map.`,
    missing: (detail) => `The map is not available: ${detail}. Alerts and lists work without it.`,
  },
  guard: {
    all: "All guards",
    track: "Track",
    day: "Day ",
    position: "Position",
    unregistered: "Not registered.",
    accuracy: "Accuracy",
    speed: "Speed",
    heading: "Heading",
    zones: "Zones",
    noName: "Without a name",
    nameUnknown: (detail) => `The name is not known: ${detail}`,
    disabled: (name) => `${name}, disabled`,
  },
  keys: {
    down: "Down, j",
    next: "Next alert",
    up: "Up, k",
    previous: "Previous alert",
    ends: "Home, End",
    firstLast: "First and last alert",
    open: "Open the alert",
    help: "Show this list",
    title: "Keys in the queue",
    close: "Close",
  },
  player: {
    time: "Time",
    play: "Play",
    title: "Playback",
    speed: "Speed ",
    hint: "On the slider: arrow keys go from fix to fix, Space plays and stops.",
    stop: "Stop",
    inside: "inside a zone",
    outside: "outside all zones",
    noPosition: (length) => `no position for ${length}`,
    times: (speed) => `${speed} times`,
  },
  track: {
    none: "No fix in this time.",
    notUpToDate: (detail) => `The track is not up to date: ${detail}`,
    some: (drawn, count) => `${drawn} of ${count} fixes are drawn`,
    all: (count) => (count === 1 ? "1 fix" : `${count} fixes`),
    end: (drawn, rejected) => `${drawn}${rejected ? `; ${rejected} not believed, hollow on the map` : ""}.`,
  },
  transitions: {
    none: "No entry, exit or violation.",
    title: "Zones",
    late: " (found late)",
    noReason: (detail) => `The explanation is not available: ${detail}`,
  },
  trial: {
    running: "The last week is being evaluated.",
    of: (fixes, guards) => `${fixes} fixes of ${guards === 1 ? "1 guard" : `${guards} guards`}`,
    different: (of, count) => `Of ${of}, it would have been different for ${count}:`,
    same: (of) => `Nothing would have been different, of ${of}.`,
    rest: (count) => `${count} more; \`vigil zone try\` lists all.`,
    violations: (count, length) => `${count === 1 ? "1 violation" : `${count} violations`}${count ? ` (${length})` : ""}`,
    guard: (edited, today, gained, lost, shifted) => ` ${edited} in place of ${today}; ${gained} new, ${lost} gone, ${shifted} at another time.`,
    gained: "New",
    lost: "Gone",
  },
  zoneForm: {
    save: "Save",
    tryOut: "Try it on last week",
    name: "Name",
    kind: "Kind",
    limit: "Limit, m/s",
    site: "Site",
    guard: "Only for the guard",
    guardHint: "Empty: all guards.",
    group: "Only for the group",
    enabled: "Enabled",
    radius: "Radius, m",
    corners: "Corners",
    cornersHint: "One a line: latitude, longitude. Or draw on the map: drag a corner, pull an edge's middle out, right-click a corner to remove it.",
    none: "None",
    fresh: "A new zone",
    noArea: "area is missing; draw three corners at least, or a circle",
    noZoneName: "name is missing; a zone needs a name",
    title: (name, version) => `Zone ${name}, version ${version}`,
  },
  people: {
    unknown: (detail) => `The names of users are not known: ${detail}`,
  },
};
