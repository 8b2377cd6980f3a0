/** Version of this package. */
export const VERSION = "0.2.0";
export const MAX_RESULT_BYTES = 65536;
export const TABLES = [
    {
        "name": "tasks",
        "about": "something a person has to do",
        "title": "title",
        "key": [
            "title"
        ],
        "fields": [
            {
                "name": "title",
                "kind": "text",
                "required": true,
                "max_length": 500,
                "about": "what to do, in a few words"
            },
            {
                "name": "description",
                "kind": "text",
                "max_length": 10000,
                "about": "more about it"
            },
            {
                "name": "status",
                "kind": "text",
                "choices": [
                    "todo",
                    "in_progress",
                    "done"
                ],
                "default": "todo"
            },
            {
                "name": "priority",
                "kind": "text",
                "choices": [
                    "high",
                    "medium",
                    "low"
                ],
                "default": "medium"
            },
            {
                "name": "assignee",
                "kind": "names",
                "max_length": 200,
                "about": "who is to do it"
            },
            {
                "name": "dueDate",
                "kind": "epoch_ms",
                "about": "when it is due"
            },
            {
                "name": "projectId",
                "kind": "text",
                "filler": "person",
                "refers_to": "projects"
            }
        ]
    },
    {
        "name": "notes",
        "about": "something worth remembering",
        "title": "title",
        "key": [
            "title"
        ],
        "fields": [
            {
                "name": "title",
                "kind": "text",
                "required": true,
                "max_length": 500,
                "about": "what it is about"
            },
            {
                "name": "content",
                "kind": "text",
                "max_length": 100000,
                "about": "the note itself, as Markdown"
            },
            {
                "name": "projectId",
                "kind": "text",
                "filler": "person",
                "refers_to": "projects"
            }
        ]
    },
    {
        "name": "timelines",
        "about": "something that happens on a date",
        "title": "title",
        "key": [
            "title"
        ],
        "fields": [
            {
                "name": "title",
                "kind": "text",
                "required": true,
                "max_length": 500,
                "about": "what happens"
            },
            {
                "name": "projectId",
                "kind": "text",
                "filler": "person",
                "refers_to": "projects"
            },
            {
                "name": "date",
                "kind": "epoch_ms",
                "required": true,
                "about": "when it happens"
            }
        ]
    },
    {
        "name": "projects",
        "about": "an undertaking with a name",
        "title": "name",
        "key": [
            "name"
        ],
        "fields": [
            {
                "name": "name",
                "kind": "text",
                "required": true,
                "max_length": 500,
                "about": "what it is called"
            },
            {
                "name": "clientId",
                "kind": "text",
                "filler": "person"
            }
        ]
    },
    {
        "name": "taskComments",
        "about": "a remark on a task",
        "title": "content",
        "key": [
            "author",
            "content"
        ],
        "fields": [
            {
                "name": "taskId",
                "kind": "text",
                "filler": "person",
                "required_to_approve": true,
                "refers_to": "tasks"
            },
            {
                "name": "author",
                "kind": "text",
                "max_length": 200,
                "about": "who said it"
            },
            {
                "name": "content",
                "kind": "text",
                "required": true,
                "max_length": 10000,
                "about": "what was said"
            }
        ]
    }
];
/** Columns that every table has. */
export const SHARED_COLUMNS = [
    {
        "name": "id",
        "kind": "text",
        "filler": "device",
        "required": true,
        "about": "the row's own id"
    },
    {
        "name": "isAiSuggested",
        "kind": "flag",
        "filler": "hub",
        "required": true,
        "default": 0
    },
    {
        "name": "isApproved",
        "kind": "flag",
        "filler": "hub",
        "required": true,
        "default": 1
    },
    {
        "name": "createdAt",
        "kind": "epoch_ms",
        "filler": "device",
        "required": true
    },
    {
        "name": "updatedAt",
        "kind": "epoch_ms",
        "filler": "device",
        "required": true
    }
];
export const CLOSE_MEANINGS = {
    "1000": "the device is done",
    "1001": "hub stops",
    "1009": "message too large",
    "1011": "fault in the hub",
    "1012": "the hub restarts, or wants the device to connect anew",
    "1013": "overloaded, try later",
    "4000": "no hello in time",
    "4001": "heartbeat silent",
    "4008": "slow consumer: the outgoing queue stood full too long",
    "4029": "too many attempts or takeovers",
    "4400": "frame malformed or not allowed in this state",
    "4501": "authentication failed",
    "4503": "device or token revoked",
    "4505": "no common protocol version",
    "4509": "replaced by a newer connection",
    "4510": "pairing required or denied"
};
