//! Token endpoints and their answers in Chinese.

use crate::messages::{Message, address, moment};
use crate::reason::TokenReason;

const GOES_ON: &str = "会自动重试。";

pub(super) fn explain(reason: &TokenReason, name: &str) -> Message {
    let authorize = format!(
        "请重新授权：把新的刷新令牌放到该凭据 `refresh_token` 所指的位置，或运行 `one-api-sidecar login {name}`。"
    );
    match reason {
        TokenReason::NotSent { host, error } => Message::new(
            format!("无法连接 {host}，请求没有发出：{error}。"),
            format!("请检查本机的网络、DNS 和 `proxy`：`curl -v {}`。{GOES_ON}", address(host)),
        ),
        TokenReason::NotMade { detail } => Message::new(
            format!("无法生成请求，没有发出任何内容：{detail}。"),
            format!("请改正这里提到的字段或文件。{GOES_ON}"),
        ),
        TokenReason::Certificate { host, error } => Message::new(
            format!("{host} 的证书未通过验证，请求没有发出：{error}。"),
            format!(
                "请检查系统时间（`date`）以及应答的是谁（`curl -v https://{host}/`）；若用的是私有 CA，\
                 请设置 `ca_file`。{GOES_ON}"
            ),
        ),
        TokenReason::AnswerLost { host, error } => Message::new(
            format!("请求已发给 {host}，但没有收到完整的应答：{error}。"),
            "暂时无需处理：现有密钥继续使用，在它过期之前会用同一个刷新令牌再问一次。若是本机网络不好，请在此之前修复。",
        ),
        TokenReason::DiedInFlight { at } => Message::new(
            format!("{} 的请求还在进行时 sidecar 被强行终止，应答已丢失。", moment(*at)),
            "暂时无需处理：会再问一次。请给 sidecar 留出停止的时间：在 compose 中设置 `stop_grace_period: 1m`。",
        ),
        TokenReason::ServerError { status } => Message::new(
            format!("令牌接口出错（HTTP {status}），不清楚刷新令牌是否已被更换。"),
            "暂时无需处理：会再问一次。若一直如此，请查看服务商的状态页。",
        ),
        TokenReason::Busy { status, until } => Message::new(
            match until {
                Some(until) => format!("令牌接口要求在 {} 之前不要再请求（HTTP {status}）。", moment(*until)),
                None => format!("令牌接口繁忙（HTTP {status}）。"),
            },
            format!("{GOES_ON}若一直如此，请看看是否有别的程序在用同一账号或同一 IP。"),
        ),
        TokenReason::Blocked { status } => Message::new(
            format!("令牌接口前的防火墙拦截了请求（HTTP {status}）。"),
            format!("请换一个出口地址：设置该凭据的 `proxy`。{GOES_ON}"),
        ),
        TokenReason::Revoked { code } => {
            Message::new(format!("服务商不再接受这个刷新令牌（`{code}`）：已被用过、过期或撤销。"), authorize)
        }
        TokenReason::Misconfigured { code } => Message::new(
            format!("服务商拒绝了这个客户端或它的请求（`{code}`）。"),
            format!(
                "请对照服务商的文档检查 `client_id`、`client_secret`、`token_endpoint_auth_method`、`scope` 和 \
                 `params`；改好后运行 `one-api-sidecar retry {name}`。"
            ),
        ),
        TokenReason::UnknownError { status, code } => Message::new(
            match code {
                Some(code) => format!("令牌接口返回了未知错误 `{code}`（HTTP {status}）。"),
                None => format!("令牌接口返回了错误（HTTP {status}）。"),
            },
            format!("请检查 `token_url` 和 `method`，再查看服务商的状态页。{GOES_ON}"),
        ),
        TokenReason::Redirected { status } => Message::new(
            format!("令牌接口要求跳转到别处（HTTP {status}），sidecar 从不跟随跳转。"),
            "请把 `token_url` 改为最终地址；对它执行 `curl -sI` 可以看到跳转目标。",
        ),
        TokenReason::Unreadable { status, detail } => Message::new(
            format!("无法识别令牌接口的应答（HTTP {status}）：{detail}。"),
            format!("请确认 `token_url` 确实是令牌接口，而不是某个代理在应答。{GOES_ON}"),
        ),
        TokenReason::BadAccessToken { detail } => Message::new(
            format!("应答中的访问令牌不能使用：{detail}。旧密钥保持不变。"),
            format!("请检查 `[credential.response]` 中的 `access_token`：它应指向令牌在应答中的位置。{GOES_ON}"),
        ),
        TokenReason::OutcomeUnknown { lost_at, code } => Message::new(
            match code {
                Some(code) => format!(
                    "{} 的应答丢失了，现在服务商拒绝这个刷新令牌（`{code}`）：新的刷新令牌多半就在那次应答里。",
                    moment(*lost_at)
                ),
                None => format!("{} 的应答丢失了，而 `on_lost_answer = \"halt\"` 不允许再问。", moment(*lost_at)),
            },
            match code {
                Some(_) => authorize,
                None => format!("可用 `one-api-sidecar retry {name}` 再问一次。若被拒绝：{authorize}"),
            },
        ),
        TokenReason::NoRefreshToken => Message::new("没有刷新令牌：配置中没有，保管库里也没有。", authorize),
        TokenReason::SeedRefused { code } => Message::new(
            format!("配置中新的刷新令牌被拒绝（`{code}`），继续使用原来的。"),
            "请确认新令牌复制完整，并且属于这个 `client_id`；或者改回原来的。",
        ),
        TokenReason::SharedSeed { owner } => Message::new(
            format!("凭据 `{owner}` 用的是同一个刷新令牌，而它只能由一个凭据使用。"),
            format!("请给本凭据换一个自己的刷新令牌，或者删除它，把它的渠道加到 `{owner}`。"),
        ),
        TokenReason::ShortLived { lifetime_seconds, lag_seconds } => Message::new(
            format!(
                "访问令牌只有 {lifetime_seconds} 秒寿命，而网关可能继续使用旧密钥 {lag_seconds} 秒：\
                 每次刷新后都可能有请求失败。"
            ),
            "请调低网关的 `SYNC_FREQUENCY` 或关闭其内存缓存，并设置 `[gateway]` 中的 `cache_lag`。",
        ),
        TokenReason::OtherClientsSeed { client_id } => Message::new(
            format!(
                "配置中的刷新令牌是发给另一个客户端的（`client_id = \"{client_id}\"`，这里曾用它刷新过），\
                 绝不会以第二个客户端的名义发送。"
            ),
            "请用现在配置的客户端重新登录，填入得到的刷新令牌；或者改回 `client_id` 和 `grant_type`，凭据会从中断处继续。",
        ),
        TokenReason::Crashed => {
            Message::new("sidecar 自身出错，这次刷新中断了。", format!("{GOES_ON}请附上这段时间的日志反馈给我们。"))
        }
        TokenReason::VaultIsOlder { code: None } => Message::new(
            "保管库回到了较早的状态（是从备份恢复的吗？），这个刷新令牌此后可能已被用过。",
            "如果较新的保管库还在，请停止 sidecar 并把它放回去。否则暂时无需处理：现有密钥继续使用，\
             在它过期前不久会用这个刷新令牌试一次。请准备好一个新的刷新令牌，以防被拒绝。",
        ),
        TokenReason::VaultIsOlder { code: Some(code) } => Message::new(
            format!("保管库曾回到较早的状态，而服务商拒绝了其中的刷新令牌（`{code}`）：它多半此后已被用过。"),
            authorize,
        ),
    }
}
