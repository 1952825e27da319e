//! Simplified Chinese, in the words One-API's operators use: 渠道, 密钥, 网关, 访问令牌, 刷新令牌.

mod config;
mod doctor;
mod gateway;
mod login;
pub(super) mod notice;
mod page;
mod secret;
mod token;
mod vault;

use std::time::Duration;

use super::{About, ChannelStates, Columns, CredentialStates, LoginWords, Message, ServiceWords, VaultWords, Words};
use crate::reason::{AgentReason, Language, NotifierReason, Reason};

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
    agent_runs_since: "代理正在运行，已 {}。",
    agent_is_down: "代理未运行：请用 `one-api-sidecar run` 启动。",
    once_progress: "已刷新 {refreshed}/{all}，{time} …",
    tried_at_start: "代理启动时会再试：`one-api-sidecar run` 或 `one-api-sidecar once`。",
    nothing_to_retry: "该凭据并无异常：既未停止，也未失败。",
    would_work: "可以正常工作。",
    would_not_work: "目前还不能正常工作：请看标有 {mark} 的各行。",
    doctor: doctor::WORDS,
    plan: "{host} → 渠道 {channels}；在密钥到期前 {lead} 刷新（{lag} 留给网关缓存，{retries} 留给重试），最早在其寿命过半时",
    vault: VaultWords {
        sound: "完好",
        sealed: "已加密：没有密钥，谁也读不出其中的令牌，拿到备份也一样。",
        has_key: "由 `encryption_key` 加密（最迟在代理启动时）：没有这个密钥，谁也读不出其中的令牌，备份里的也一样。",
        plain: "未加密：能读取该文件或其备份的人就能拿到令牌。在 `[vault]` 中设置 `encryption_key` 即可加密。",
        holds: "其中有 {records} 条凭据记录、{channels} 个已接管的渠道、{fingerprints} 个指纹、{events} 条事件。",
        beside: "读取时它正由 {} 使用，互不影响。",
        behind: "它回到了较早的状态（是从备份恢复的吗？），其中的刷新令牌可能已被用过。",
        orphaned: "记录 `{}` 在配置中没有对应的凭据；记录会保留，凭据回来后继续使用。",
        rekeyed: "保管库已用新密钥加密。请在下次启动之前把 {} 填入 `[vault]` 的 `encryption_key`。",
        set_aside: "保管库已另存为 {}。",
        forgotten: "没有可另存的保管库，下次启动会新建一个。",
        type_yes: "保管库会另存，不会删除。输入 `yes` 继续：",
    },
    preset: "预设 {preset} 补上没有写的字段：{fields}",
    login: LoginWords {
        device: "请在任意设备上打开此地址并输入代码：\n\n  {url}\n  {code}\n",
        browser: "请在浏览器中打开此地址：\n\n  {url}\n",
        paste: "浏览器最后停留的页面可能打不开。请把它的完整地址粘贴到这里：",
        waiting: "等待中，最多 {time} …",
        close_the_page: "完成，可以关闭此页面。",
        done: "{credential}：刷新令牌已存入保管库；下次启动代理或运行 `once` 时使用。",
        at_work: "{credential}：刷新令牌已存入保管库，代理现在就使用它。",
        held: "刷新令牌由本命令暂存，一旦可以就交出，最多等 {time}。按 Ctrl+C 则放弃它。",
        would_import: "{file}（{format}）中有一个刷新令牌，将为凭据 {credential} 存入保管库。",
        say_yes: "尚未做任何改动。加上 --yes 再运行一次即可执行。",
        add_first: "配置中还没有对应的凭据。请先添加一个，写上您的渠道，再重新导入：",
        nothing_to_import: "这个文件没有要存入保管库的内容：凭据会自己读取它。",
        client_secret: "文件中还有客户端机密。把它放进密钥环：",
        one_owner: "此后，原来的程序不可再使用这个刷新令牌。",
        by_pointers: "按指针读取",
    },
    page: page::WORDS,
    service: ServiceWords {
        credentials: "{} 个凭据",
        colon: "：",
        comma: "、",
        semicolon: "；",
        named: "{count}（{names}）",
        more: " 等，另有 {} 个",
        config_rejected: "修改后的配置文件未被采用",
        vault_trouble: "保管库无法写入",
        gateway_trouble: "网关 {} 无法使用",
        notifier_trouble: "通知方式 {} 未能送达消息",
        standing_by: "待命：保管库由 {} 使用",
        standing_by_because: "待命：{}",
        displaced: "即将转为待命：等待尚未返回的应答",
        stopping: "正在停止：等待尚未返回的应答",
    },
};

/// A reason in words.
pub(super) fn explain(reason: &Reason, about: About<'_>) -> Message {
    match reason {
        Reason::Config(reason) => config::explain(reason),
        Reason::Secret(reason) => secret::explain(reason),
        Reason::Token(reason) => token::explain(reason, about.credential),
        Reason::Login(reason) => login::explain(reason, about.credential),
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
        AgentReason::NoTimeZone { name } => Message::new(
            format!("系统中没有时区 `{name}`，消息中的时间为 UTC。"),
            "请把 `TZ` 写成不依赖时区数据库的规则：中国为 `CST-8`，UTC+1 为 `<+01>-1`。也可以安装 tzdata；\
             在容器中挂载宿主机的：`/usr/share/zoneinfo:/usr/share/zoneinfo:ro`。",
        ),
        AgentReason::RestartNeeded { section } => Message::new(
            format!("`{section}` 已修改，下次启动时才会生效。"),
            "请在方便时重启 sidecar；使用 compose 时：`docker compose restart`。",
        ),
        AgentReason::NoSuchCredential { name, nearest } => Message::new(
            format!("配置中没有名为 `{name}` 的凭据。"),
            match nearest {
                Some(nearest) => format!("是不是想写 `{nearest}`？用 `one-api-sidecar status` 可列出全部凭据。"),
                None => "请使用 `one-api-sidecar status` 列出的名称。".into(),
            },
        ),
        AgentReason::NoSuchChannel { channel } => Message::new(
            format!("配置中没有凭据为渠道 `{channel}` 提供密钥。"),
            "请使用 `one-api-sidecar channels` 中标有凭据的渠道；有多个网关时写作 GATEWAY/ID。已从配置中删除的渠道请先加回去。",
        ),
        AgentReason::NothingToGiveBack { channel } => Message::new(
            format!("渠道 `{channel}` 还没有写入过 sidecar 的密钥，没有可以交还的。"),
            "若不想让 sidecar 碰它，请把它从配置的 `channels` 中去掉。",
        ),
        AgentReason::Silent { holder } => Message::new(
            format!("保管库由 {holder} 使用，但它没有应答。"),
            "若它已暂停或卡住，请结束它再试；它一结束，锁就会释放。",
        ),
        AgentReason::OwnedElsewhere { holder } => Message::new(
            format!("保管库由另一台主机上的 {holder} 使用。"),
            "请到那台主机上运行此命令；`status` 在这里也能用。",
        ),
        AgentReason::NotRunning => {
            Message::new("没有代理应答：它未运行，或已卡住。", "请用 `one-api-sidecar run` 启动，或重启其容器。")
        }
        AgentReason::NeedAttention { credentials } => Message::new(
            format!("以下凭据已停止或其密钥已过期：{}。", list(credentials)),
            "`one-api-sidecar status` 会说明原因和处理办法。",
        ),
        AgentReason::NoControlSocket { path, error } => Message::new(
            format!("无法打开控制套接字 {path}：{error}。"),
            "刷新照常进行；`once`、`retry` 等命令可在代理停止时使用。请把保管库放在支持套接字的文件系统上，\
             且文件名不超过 80 个字符。",
        ),
        AgentReason::CannotListen { address, error } => Message::new(
            format!("HTTP 服务无法监听 {address}：{error}。"),
            "刷新照常进行。请结束占用该地址的程序，或修改 `[server]` 中的 `listen`；程序会继续重试。",
        ),
        AgentReason::ListensBeyondLoopback { address } => Message::new(
            format!("HTTP 服务监听在 {address}：能访问它的人都能看到名称和状态，但看不到密钥。"),
            "若不希望如此，请把 `[server]` 中的 `listen` 设为 127.0.0.1，或对外关闭该端口。",
        ),
        AgentReason::Abandoned { credentials } if credentials.is_empty() => {
            Message::new("已两次要求停止：立即退出。", "不会丢失任何内容：尚未送达的密钥会在下次启动时送达。")
        }
        AgentReason::Abandoned { credentials } => Message::new(
            format!(
                "已两次要求停止：立即退出，不再等待以下凭据的应答，其新的刷新令牌可能丢失：{}。",
                list(credentials)
            ),
            "请重新启动代理，它会再问一次；若被拒绝，请重新授权这些凭据。",
        ),
        AgentReason::HeldLost { credentials } => Message::new(
            format!(
                "停止时保管库属于另一台主机：以下凭据未能保存的应答已丢失，其中的新刷新令牌也随之丢失：{}。",
                list(credentials)
            ),
            "保管库的拥有者会再问一次；若被拒绝，请重新授权这些凭据。",
        ),
        AgentReason::NoSuchNotifier { name, known } => Message::new(
            format!("配置中没有名为 `{name}` 的通知方式。"),
            format!("现有：{}。没有写 `name` 的通知方式以其 `type` 为名。", list(known)),
        ),
        AgentReason::NoNotifier => Message::new(
            "配置中没有任何通知方式，出了事不会有人知道。",
            "请在配置中添加一个 `[[notify]]`；docs/notifications.zh-CN.md 中有每种服务的写法。",
        ),
        AgentReason::LogFilter { found, nearest } => Message::new(
            format!("`ONE_API_SIDECAR_LOG` 中的 `{found}` 不是日志过滤条件，已忽略。"),
            match nearest {
                Some(nearest) => format!("是不是想写 `{nearest}`？"),
                None => "请写一个级别（`error`、`warn`、`info`、`debug`、`trace`、`off`），或 `MODULE=LEVEL`，多个以逗号分隔。"
                    .into(),
            },
        ),
        AgentReason::LogFormat { found } => Message::new(
            format!("`ONE_API_SIDECAR_LOG_FORMAT` 中的 `{found}` 不是日志格式，日志将以文本输出。"),
            "请写 `text` 或 `json`。",
        ),
        AgentReason::ClockOff { host, seconds } => {
            let length = super::words(Language::Chinese).length(Duration::from_secs(seconds.unsigned_abs()));
            let side = if *seconds > 0 { "快" } else { "慢" };
            Message::new(
                format!("本机时钟比 {host} {side} {length}。"),
                "请校准时钟并保持同步：`timedatectl set-ntp true`；在容器中运行时，请在其宿主机上操作。",
            )
        }
    }
}

/// Names between Chinese commas.
fn list(names: &[String]) -> String {
    names.join("、")
}
