//! The requests and answers of every HTTP service, as its documentation has them.

use serde_json::{Value, json};

/// What an HTTP service must do with one notice and with every kind of answer.
pub(super) struct Case {
    pub(super) service: &'static str,
    pub(super) table: &'static str,
    pub(super) uri: &'static str,
    /// Beside the content type.
    pub(super) headers: &'static [(&'static str, &'static str)],
    pub(super) body: Value,
    pub(super) taken: &'static [(u16, &'static str)],
    /// Refusals: status, body, the service's code, a part of its words.
    pub(super) refused: &'static [(u16, &'static str, Option<&'static str>, Option<&'static str>)],
    /// Asked to be left alone, beside HTTP 429.
    pub(super) limited: &'static [(u16, &'static str)],
    /// Whether a body that is not the service's is recognised.
    pub(super) reads_body: bool,
}

/// The moment of every request here.
pub(super) const NOW_MS: i64 = 1_767_000_000_123;

pub(super) fn cases() -> Vec<Case> {
    vec![
        Case {
            service: "pushplus",
            table: r#"token = { env = "TOKEN" }"#,
            uri: "https://www.pushplus.plus/send",
            headers: &[],
            body: json!({ "token": "sentinel", "title": "Act: <now>", "content": "why\nhow `a_b`", "template": "txt" }),
            taken: &[(200, r#"{"code":200,"msg":"ok","data":"id"}"#)],
            refused: &[
                (200, r#"{"code":903,"msg":"bad\u0007 token"}"#, Some("903"), Some("bad  token")),
                (200, r#"{"code":999,"msg":"no topic"}"#, Some("999"), Some("no topic")),
            ],
            limited: &[(200, r#"{"code":900,"msg":"limited"}"#)],
            reads_body: true,
        },
        Case {
            service: "pushplus",
            table: r#"
                token = { value = "sentinel" }
                topic = "ops"
                channel = "mail"
                url = "http://127.0.0.1:1/other/send?x=1"
            "#,
            uri: "http://127.0.0.1:1/other/send?x=1",
            headers: &[],
            body: json!({
                "token": "sentinel", "title": "Act: <now>", "content": "why\nhow `a_b`", "template": "txt",
                "topic": "ops", "channel": "mail"
            }),
            taken: &[(200, r#"{"code":200}"#)],
            refused: &[(200, r#"{"code":999}"#, Some("999"), None)],
            limited: &[(200, r#"{"code":900}"#)],
            reads_body: true,
        },
        Case {
            service: "serverchan",
            table: r#"key = { env = "KEY" }"#,
            uri: "https://sctapi.ftqq.com/sentinel.send",
            headers: &[],
            body: json!({ "title": "Act: <now>", "desp": "why\n\nhow `a_b`" }),
            taken: &[(
                200,
                r#"{"code":0,"message":"","data":{"pushid":"1","readkey":"x","error":"SUCCESS","errno":0}}"#,
            )],
            refused: &[(
                400,
                r#"{"code":40001,"message":"[AUTH]bad key","info":"x"}"#,
                Some("40001"),
                Some("[AUTH]bad key"),
            )],
            limited: &[],
            reads_body: true,
        },
        Case {
            service: "serverchan",
            table: r#"
                key = { env = "KEY" }
                url = "http://127.0.0.1:1/send/"
            "#,
            uri: "http://127.0.0.1:1/send/sentinel.send",
            headers: &[],
            body: json!({ "title": "Act: <now>", "desp": "why\n\nhow `a_b`" }),
            taken: &[(200, r#"{"code":0}"#)],
            refused: &[(200, r#"{"code":2,"message":"no"}"#, Some("2"), Some("no"))],
            limited: &[],
            reads_body: true,
        },
        Case {
            service: "bark",
            table: r#"device_key = { env = "KEY" }"#,
            uri: "https://api.day.app/push",
            headers: &[],
            body: json!({ "device_key": "sentinel", "title": "Act: <now>", "body": "why\nhow `a_b`" }),
            taken: &[(200, r#"{"code":200,"message":"success","timestamp":1}"#)],
            refused: &[
                (
                    400,
                    r#"{"code":400,"message":"failed to get device token"}"#,
                    Some("400"),
                    Some("failed to get device token"),
                ),
                (200, r#"{"code":500,"message":"push failed"}"#, Some("500"), Some("push failed")),
            ],
            limited: &[],
            reads_body: true,
        },
        Case {
            service: "wecom",
            table: r#"key = { env = "KEY" }"#,
            uri: "https://qyapi.weixin.qq.com/cgi-bin/webhook/send?key=sentinel",
            headers: &[],
            body: json!({ "msgtype": "text", "text": { "content": "Act: <now>\n\nwhy\nhow `a_b`" } }),
            taken: &[(200, r#"{"errcode":0,"errmsg":"ok"}"#)],
            refused: &[(
                200,
                r#"{"errcode":93000,"errmsg":"invalid webhook url"}"#,
                Some("93000"),
                Some("invalid webhook url"),
            )],
            limited: &[(200, r#"{"errcode":45009,"errmsg":"api freq out of limit"}"#)],
            reads_body: true,
        },
        Case {
            service: "dingtalk",
            table: r#"access_token = { env = "TOKEN" }"#,
            uri: "https://oapi.dingtalk.com/robot/send?access_token=sentinel",
            headers: &[],
            body: json!({ "msgtype": "text", "text": { "content": "Act: <now>\n\nwhy\nhow `a_b`" } }),
            taken: &[(200, r#"{"errcode":0,"errmsg":"ok"}"#)],
            refused: &[(
                200,
                r#"{"errcode":310000,"errmsg":"keywords not in content"}"#,
                Some("310000"),
                Some("keywords not in content"),
            )],
            limited: &[(200, r#"{"errcode":660026,"errmsg":"send too fast"}"#), (200, r#"{"errcode":130101}"#)],
            reads_body: true,
        },
        Case {
            service: "dingtalk",
            table: r#"
                access_token = { env = "TOKEN" }
                secret = { env = "SECRET" }
                url = "http://127.0.0.1:1/robot"
            "#,
            // python3: base64.b64encode(hmac.new(b"sentinel", b"1767000000123\nsentinel", "sha256").digest()), quoted
            uri: "http://127.0.0.1:1/robot?access_token=sentinel&timestamp=1767000000123&sign=aILzA7o%2FxAb5PGbSp6r8GAR4YJtTViZjRTNZAsWY8kk%3D",
            headers: &[],
            body: json!({ "msgtype": "text", "text": { "content": "Act: <now>\n\nwhy\nhow `a_b`" } }),
            taken: &[(200, r#"{"errcode":0}"#)],
            refused: &[(
                200,
                r#"{"errcode":300001,"errmsg":"token is not exist"}"#,
                Some("300001"),
                Some("token is not exist"),
            )],
            limited: &[(200, r#"{"errcode":410100,"errmsg":"x"}"#)],
            reads_body: true,
        },
        Case {
            service: "feishu",
            table: r#"token = { env = "TOKEN" }"#,
            uri: "https://open.feishu.cn/open-apis/bot/v2/hook/sentinel",
            headers: &[],
            body: json!({ "msg_type": "text", "content": { "text": "Act: ＜now>\n\nwhy\nhow `a_b`" } }),
            taken: &[(200, r#"{"StatusCode":0,"StatusMessage":"success","code":0,"data":{},"msg":"success"}"#)],
            refused: &[
                (200, r#"{"code":19024,"msg":"Key Words Not Found"}"#, Some("19024"), Some("Key Words Not Found")),
                (400, r#"{"code":19001,"msg":"param invalid"}"#, Some("19001"), Some("param invalid")),
            ],
            limited: &[
                (200, r#"{"code":11232,"msg":"frequency limited"}"#),
                (200, r#"{"code":9499,"msg":"too many"}"#),
            ],
            reads_body: true,
        },
        Case {
            service: "feishu",
            table: r#"
                token = { env = "TOKEN" }
                secret = { env = "SECRET" }
                url = "https://open.larksuite.com/open-apis/bot/v2/hook"
            "#,
            uri: "https://open.larksuite.com/open-apis/bot/v2/hook/sentinel",
            headers: &[],
            // python3: base64.b64encode(hmac.new(b"1767000000\nsentinel", b"", "sha256").digest())
            body: json!({
                "timestamp": "1767000000", "sign": "NcPWAr1u450NOs0r0LDfoXb7rviUrJ6rSf4wzjVLybI=",
                "msg_type": "text", "content": { "text": "Act: ＜now>\n\nwhy\nhow `a_b`" }
            }),
            taken: &[(200, r#"{"code":0}"#)],
            refused: &[(200, r#"{"code":19021,"msg":"sign match fail"}"#, Some("19021"), Some("sign match fail"))],
            limited: &[],
            reads_body: true,
        },
        Case {
            service: "telegram",
            table: r#"
                token = { env = "TOKEN" }
                chat_id = -1001234567890
            "#,
            uri: "https://api.telegram.org/botsentinel/sendMessage",
            headers: &[],
            body: json!({ "chat_id": "-1001234567890", "text": "Act: <now>\n\nwhy\nhow `a_b`" }),
            taken: &[(200, r#"{"ok":true,"result":{"message_id":1}}"#)],
            refused: &[
                (
                    401,
                    r#"{"ok":false,"error_code":401,"description":"Unauthorized"}"#,
                    Some("401"),
                    Some("Unauthorized"),
                ),
                (200, r#"{"ok":false,"description":"x"}"#, None, Some("x")),
            ],
            limited: &[(200, r#"{"ok":false,"error_code":429,"parameters":{"retry_after":7}}"#)],
            reads_body: true,
        },
        Case {
            service: "telegram",
            table: r#"
                token = { env = "TOKEN" }
                chat_id = "@ops"
                url = "http://127.0.0.1:1/tg"
            "#,
            uri: "http://127.0.0.1:1/tg/botsentinel/sendMessage",
            headers: &[],
            body: json!({ "chat_id": "@ops", "text": "Act: <now>\n\nwhy\nhow `a_b`" }),
            taken: &[(200, r#"{"ok":true}"#)],
            refused: &[(
                400,
                r#"{"ok":false,"error_code":400,"description":"chat not found"}"#,
                Some("400"),
                Some("chat not found"),
            )],
            limited: &[],
            reads_body: true,
        },
        Case {
            service: "slack",
            table: r#"url = "https://hooks.slack.com/services/T/B/sentinel""#,
            uri: "https://hooks.slack.com/services/T/B/sentinel",
            headers: &[],
            body: json!({ "text": "Act: &lt;now&gt;\n\nwhy\nhow `a_b`" }),
            taken: &[(200, "ok"), (200, "ok\n")],
            refused: &[
                (404, "no_service", Some("no_service"), None),
                (200, "invalid_payload", Some("invalid_payload"), None),
            ],
            limited: &[(200, "rate_limited")],
            reads_body: true,
        },
        Case {
            service: "discord",
            table: r#"url = "https://discord.com/api/webhooks/1/sentinel""#,
            uri: "https://discord.com/api/webhooks/1/sentinel",
            headers: &[],
            body: json!({ "content": "Act: <now>\n\nwhy\nhow `a_b`", "allowed_mentions": { "parse": [] } }),
            taken: &[(204, ""), (200, r#"{"id":"1","type":0}"#)],
            refused: &[
                (404, r#"{"message":"Unknown Webhook","code":10015}"#, Some("10015"), Some("Unknown Webhook")),
                (
                    200,
                    r#"{"message":"Invalid Webhook Token","code":50027}"#,
                    Some("50027"),
                    Some("Invalid Webhook Token"),
                ),
            ],
            limited: &[],
            reads_body: true,
        },
        Case {
            service: "ntfy",
            table: r#"topic = "ops""#,
            uri: "https://ntfy.sh/",
            headers: &[],
            body: json!({ "topic": "ops", "title": "Act: <now>", "message": "why\nhow `a_b`", "priority": 4 }),
            taken: &[(200, r#"{"id":"xE73Iyuabi","time":1,"event":"message","topic":"ops"}"#)],
            refused: &[
                (403, r#"{"code":40301,"http":403,"error":"forbidden"}"#, Some("40301"), Some("forbidden")),
                (200, r#"{"code":40001,"error":"x"}"#, Some("40001"), Some("x")),
            ],
            limited: &[(200, r#"{"code":42908,"http":429,"error":"daily message quota reached"}"#)],
            reads_body: true,
        },
        Case {
            service: "ntfy",
            table: r#"
                topic = "ops"
                token = { env = "TOKEN" }
                url = { env = "TOKEN_IS_NOT_URL" }
            "#,
            uri: "http://127.0.0.1:1/ntfy",
            headers: &[("authorization", "Bearer sentinel")],
            body: json!({ "topic": "ops", "title": "Act: <now>", "message": "why\nhow `a_b`", "priority": 4 }),
            taken: &[(200, r#"{"id":"a"}"#)],
            refused: &[(401, r#"{"code":40101,"error":"unauthorized"}"#, Some("40101"), Some("unauthorized"))],
            limited: &[],
            reads_body: true,
        },
        Case {
            service: "gotify",
            table: r#"
                url = "https://gotify.example/base/"
                token = { env = "TOKEN" }
            "#,
            uri: "https://gotify.example/base/message?token=sentinel",
            headers: &[],
            body: json!({ "title": "Act: <now>", "message": "why\nhow `a_b`", "priority": 8 }),
            taken: &[(200, r#"{"id":25,"appid":5,"message":"x","title":"y","priority":8,"date":"z"}"#)],
            refused: &[
                (
                    401,
                    r#"{"error":"Unauthorized","errorCode":401,"errorDescription":"you need a token"}"#,
                    Some("401"),
                    Some("you need a token"),
                ),
                (200, r#"{"errorCode":403}"#, Some("403"), None),
            ],
            limited: &[],
            reads_body: true,
        },
        Case {
            service: "message-pusher",
            table: r#"
                url = "https://push.example"
                user = "root"
            "#,
            uri: "https://push.example/push/root",
            headers: &[],
            body: json!({
                "title": "Act: <now>", "description": "Act: <now>", "content": "Act: \\<now>\n\nwhy\n\nhow `a_b`"
            }),
            taken: &[(200, r#"{"success":true,"message":"","uuid":"x"}"#)],
            refused: &[(200, r#"{"success":false,"message":"no such channel"}"#, None, Some("no such channel"))],
            limited: &[],
            reads_body: true,
        },
        Case {
            service: "message-pusher",
            table: r#"
                url = "https://push.example/"
                user = "a/b"
                token = { env = "TOKEN" }
                channel = "lark"
            "#,
            uri: "https://push.example/push/a%2Fb",
            headers: &[],
            body: json!({
                "title": "Act: <now>", "description": "Act: <now>", "content": "Act: \\<now>\n\nwhy\n\nhow `a_b`",
                "channel": "lark", "token": "sentinel"
            }),
            taken: &[(200, r#"{"success":true}"#)],
            refused: &[(401, r#"{"success":false,"message":"bad token"}"#, None, Some("bad token"))],
            limited: &[],
            reads_body: true,
        },
        Case {
            service: "webhook",
            table: r#"url = "https://hooks.example/sentinel""#,
            uri: "https://hooks.example/sentinel",
            headers: &[],
            body: json!({
                "title": "Act: <now>", "body": "why\nhow `a_b`", "urgent": true, "events": [{ "topic": "halted" }]
            }),
            taken: &[(200, "anything"), (204, "")],
            refused: &[(400, "sentinel", None, None)],
            limited: &[],
            reads_body: false,
        },
        Case {
            service: "webhook",
            table: r#"
                url = "https://hooks.example/"
                headers = { "X-Org" = "acme", authorization = { env = "TOKEN" }, content-type = "application/vnd+json" }
                body = '{"text": "{title}: {body}", "level": {"urgent": "{urgent}"}}'
                success = { pointer = "/ok", equals = true }
                hmac_secret = { env = "SECRET" }
            "#,
            uri: "https://hooks.example/",
            headers: &[
                ("authorization", "sentinel"),
                ("x-org", "acme"),
                // python3: hmac.new(b"sentinel", BODY, "sha256").hexdigest(), BODY being the line below
                // {"level":{"urgent":true},"text":"Act: <now>: why\nhow `a_b`"}
                ("x-signature-256", "sha256=a6de0673ed6fe5e6ce3b3c456b69c357bf4db32285a98c58c3390ab5a6d68c03"),
            ],
            body: json!({ "text": "Act: <now>: why\nhow `a_b`", "level": { "urgent": true } }),
            taken: &[(200, r#"{"ok":true}"#)],
            refused: &[
                (200, r#"{"ok":false}"#, Some("false"), None),
                (200, r#"{"ok":"broken"}"#, Some("broken"), None),
                (400, r#"{"ok":["a long list that is no code", "and another text in it"]}"#, None, None),
            ],
            limited: &[],
            reads_body: true,
        },
    ]
}
