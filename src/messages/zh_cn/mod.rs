//! Simplified Chinese, in the words One-API's operators use: 渠道, 密钥, 网关, 访问令牌, 刷新令牌.

mod config;
mod gateway;
pub(super) mod notice;
mod secret;
mod token;
mod vault;

use super::{About, ChannelStates, Columns, CredentialStates, Message, Words};
use crate::reason::{AgentReason, NotifierReason, Reason};

/// The words of tables and lists.
pub(super) const WORDS: Words = Words {
    error: "错误",
    warning: "警告",
    help: "处理",
    in_time: "{}后",
    ago: "{}前",
    units: ["{} 天", "{} 小时", "{} 分钟", "{} 秒"],
    columns: Columns {
        credential: "凭据",
        state: "状态",
        expires: "过期时间",
        next_refresh: "下次刷新",
        failures: "失败次数",
        channels: "渠道",
    },
    credential: CredentialStates {
        active: "正常",
        failing: "刷新失败",
        uncertain: "结果不明",
        expired: "已过期",
        halted: "已停止",
        waiting: "等待中",
        disabled: "已禁用",
    },
    channel: ChannelStates {
        delivered: "已写入",
        pending: "待写入",
        foreign: "密钥被他人修改",
        missing: "不存在",
        disabled_by_hand: "手动禁用",
        flapping: "反复被禁用",
        released: "已交还",
        unsupported: "不支持",
        conflict: "冲突",
    },
    taken: "已送达",
    refused: "未送达",
    agent_runs: "代理正在运行。",
    agent_is_down: "代理未运行：请用 `one-api-sidecar run` 启动。",
    would_work: "可以正常工作。",
    would_not_work: "目前还不能正常工作。",
    plan: "{host} → 渠道 {channels}；在密钥到期前 {lead} 刷新（{lag} 留给网关缓存，{retries} 留给重试），最早在其寿命过半时",
};

/// A reason in words.
pub(super) fn explain(reason: &Reason, about: About<'_>) -> Message {
    match reason {
        Reason::Config(reason) => config::explain(reason),
        Reason::Secret(reason) => secret::explain(reason),
        Reason::Token(reason) => token::explain(reason, about.credential),
        Reason::Vault(reason) => vault::explain(reason),
        Reason::Gateway(reason) => gateway::explain(reason),
        Reason::Channel(reason) => gateway::channel(reason, about.channel),
        Reason::Notifier(reason) => notifier(reason),
        Reason::Agent(reason) => agent(reason),
    }
}

fn notifier(reason: &NotifierReason) -> Message {
    match reason {
        NotifierReason::Unreachable { error } => Message::new(
            format!("无法连接消息推送服务：{error}。"),
            "请检查本机网络，以及该通知的 `url` 和 `proxy`；消息会自动重发。",
        ),
        NotifierReason::Refused { status, code, words } => {
            let code = code.as_ref().map(|code| format!("，代码 {code}")).unwrap_or_default();
            let words = words.as_ref().map(|words| format!("：{words}")).unwrap_or_default();
            Message::new(
                format!("消息推送服务拒绝了这条消息（HTTP {status}{code}）{words}。"),
                "请检查配置中该通知的 token 等字段，以及在该服务的账号是否正常。",
            )
        }
        NotifierReason::RateLimited { code } => Message::new(
            format!("消息推送服务要求减少发送（代码 {code}）。"),
            "今天无需处理；长期来看，请在配置中缩小该通知的 `events` 范围，或再添加一个通知方式。",
        ),
        NotifierReason::Unreadable { status } => Message::new(
            format!("消息推送服务返回的内容无法识别（HTTP {status}）。"),
            "请检查该通知的 `url` 和 `proxy`：应答的多半不是该服务本身。",
        ),
        NotifierReason::MailRefused { code, words } => {
            let words = words.as_ref().map(|words| format!("：{words}")).unwrap_or_default();
            Message::new(
                format!("邮件服务器拒收（代码 {code}）{words}。"),
                "请检查配置中该通知的 `username`、`password`、`from` 和 `to`；不少邮箱要求使用专门的授权码。",
            )
        }
        NotifierReason::CommandFailed { status, words } => {
            let words = words.as_ref().map(|words| format!("：{words}")).unwrap_or_default();
            Message::new(
                format!("通知命令以状态 {status} 结束{words}。"),
                "请手动运行它，并把一条消息交给它的标准输入；结束状态必须是 0。",
            )
        }
        NotifierReason::CommandNotRun { error } => Message::new(
            format!("通知命令没有正常运行完：{error}。"),
            "请检查配置中的 `program`、它的权限，以及它能否在该通知的 `timeout` 之内结束。",
        ),
    }
}

fn agent(reason: &AgentReason) -> Message {
    match reason {
        AgentReason::NoInotify { error } => Message::new(
            format!("系统无法通知文件变动（{error}），改为每隔几秒比较文件内容。"),
            "可以不处理；若希望修改立即生效，请在宿主机上调大 `fs.inotify.max_user_watches`。",
        ),
        AgentReason::RestartNeeded { section } => Message::new(
            format!("`{section}` 已修改，下次启动时才会生效。"),
            "请在方便时重启 sidecar；使用 compose 时：`docker compose restart`。",
        ),
        AgentReason::Running { holder } => Message::new(
            format!("已有一个 agent 在运行：{holder}。"),
            "交给它处理即可，用 `one-api-sidecar status` 查看；或者先停掉它。",
        ),
        AgentReason::NoSuchCredential { name, nearest } => Message::new(
            format!("配置中没有名为 `{name}` 的凭据。"),
            match nearest {
                Some(nearest) => format!("是不是想写 `{nearest}`？用 `one-api-sidecar status` 可列出全部凭据。"),
                None => "请使用 `one-api-sidecar status` 列出的名称。".into(),
            },
        ),
        AgentReason::NoSuchNotifier { name, known } => Message::new(
            format!("配置中没有名为 `{name}` 的通知方式。"),
            format!("现有：{}。没有写 `name` 的通知方式以其 `type` 为名。", list(known)),
        ),
        AgentReason::NoNotifier => Message::new(
            "配置中没有任何通知方式，出了事不会有人知道。",
            "请在配置中添加一个 `[[notify]]`；docs/notifications.zh-CN.md 中有每种服务的写法。",
        ),
    }
}

/// Names between Chinese commas.
fn list(names: &[String]) -> String {
    names.join("、")
}
