//! What notices are made of in Chinese.

use crate::credential::event::{ChannelName, Topic};
use crate::messages::notice::{Headline, Kind, Phrases};
use crate::reason::{Reason, TokenReason};

/// The phrases of notices.
pub(in crate::messages) const PHRASES: Phrases = Phrases {
    title,
    note,
    channel,
    notifier: |name| format!("通知方式 {name}"),
    others: |count| format!(" · 另有 {count} 件事"),
    since: |clock, ago| format!("始于 {clock}（{ago}）"),
    dies: |clock, distance, dead| {
        if dead {
            format!("密钥已于 {clock} 失效（{distance}）")
        } else {
            format!("密钥将于 {clock} 失效（{distance}）")
        }
    },
    failures: |count| format!("连续失败 {count} 次"),
    lasted: |length| format!("持续了 {length}"),
    more: |count| format!("……还有 {count} 个：用 `one-api-sidecar status` 查看全部。"),
    test: ["测试：消息可以送达", "无需处理。这是 `one-api-sidecar notify test` 发出的；真正的消息会说明该做什么。"],
    happened,
    sidecar: "sidecar",
    cause: "原因：",
    remedy: "处理：",
};

fn title(headline: &Headline<'_>) -> String {
    let who = who(headline);
    let title = match headline.topic {
        Topic::Halted if headline.subjects.len() > 1 => format!("请处理：{who} 已停止刷新"),
        Topic::Halted => match headline.reason {
            Some(Reason::Token(
                TokenReason::Misconfigured { .. }
                | TokenReason::SharedSeed { .. }
                | TokenReason::OtherClientsSeed { .. },
            )) => {
                format!("请改正 {who} 的配置")
            }
            _ => format!("请重新授权 {who}"),
        },
        Topic::Uncertain => format!("暂时无需处理：{who} 的一次应答丢失"),
        Topic::Expiring => match &headline.dies {
            Some((clock, distance)) => format!("请处理 {who}：刷新一直失败，密钥将于 {clock} 失效（{distance}）"),
            None => format!("请处理 {who}：刷新一直失败，密钥即将失效"),
        },
        Topic::Expired => format!("请处理 {who}：刷新一直失败，密钥已失效"),
        Topic::Failing => format!("请留意 {who}：刷新失败"),
        Topic::Undelivered => format!("请检查网关：{who} 的密钥无法写入"),
        Topic::ForeignKey => format!("请决定：{who} 的密钥被他人修改"),
        Topic::ChannelMissing => format!("请改正渠道配置：网关中没有 {who}"),
        Topic::Flapping => format!("请测试 {who}：网关反复将其禁用"),
        Topic::VaultTrouble => "请修复保管库：无法写入，刷新已暂停".into(),
        Topic::ConfigRejected => "请改正配置文件：修改没有生效".into(),
        Topic::UnusedDatabase => "请检查数据库路径：似乎没有网关在使用它".into(),
        Topic::NotifierTrouble => format!("请检查{who}：消息无法送达"),
        Topic::Recovered => match &headline.lasted {
            Some(length) => format!("已恢复：{who} 恢复正常，历时 {length}"),
            None => format!("已恢复：{who} 恢复正常"),
        },
        Topic::Reenabled => format!("供参考：{who} 已重新启用"),
        Topic::Refreshed => format!("供参考：{who} 已刷新"),
        Topic::Started => "供参考：sidecar 已启动".into(),
    };
    // No space after a full-width bracket.
    title.replace("） ", "）")
}

fn happened(who: &str, topic: Topic, lasted: Option<&str>) -> String {
    let text = match topic {
        Topic::Halted => format!("{who} 已停止刷新"),
        Topic::Uncertain => format!("{who} 的一次应答丢失"),
        Topic::Expiring => format!("{who} 持续刷新失败，密钥即将失效"),
        Topic::Expired => format!("{who} 的密钥已失效"),
        Topic::Failing => format!("{who} 刷新失败"),
        Topic::Undelivered => format!("{who} 的密钥未能写入"),
        Topic::ForeignKey => format!("{who} 的密钥被他人修改"),
        Topic::ChannelMissing => format!("{who} 不在网关中"),
        Topic::Flapping => format!("{who} 反复被网关禁用"),
        Topic::VaultTrouble => "保管库无法写入".into(),
        Topic::ConfigRejected => "修改后的配置未生效".into(),
        Topic::UnusedDatabase => "似乎没有网关在使用该数据库".into(),
        Topic::NotifierTrouble => format!("{who} 未能发出消息"),
        Topic::Recovered => match lasted {
            Some(length) => format!("{who} 已恢复，历时 {length}"),
            None => format!("{who} 已恢复"),
        },
        Topic::Reenabled => format!("{who} 已重新启用"),
        Topic::Refreshed => format!("{who} 已刷新"),
        Topic::Started => "sidecar 已启动".into(),
    };
    // No space after a full-width bracket.
    text.replace("） ", "）")
}

fn who(headline: &Headline<'_>) -> String {
    match headline.subjects.as_slice() {
        [] => "sidecar".into(),
        [only] => only.clone(),
        [one, other] => format!("{one} 和 {other}"),
        many => {
            let kind = match headline.kind {
                Kind::Credentials => "凭据",
                Kind::Channels => "渠道",
                Kind::Notifiers => "通知方式",
            };
            format!("{} 个{kind}", many.len())
        }
    }
}

fn note(topic: Topic) -> Option<&'static str> {
    match topic {
        Topic::Uncertain => Some("现有密钥继续使用；在它失效之前 sidecar 会再问一次。"),
        Topic::Expiring | Topic::Failing => Some("现有密钥仍可使用，sidecar 会继续重试。"),
        Topic::Expired => Some("经由其渠道的请求会失败，sidecar 会继续重试。"),
        Topic::Undelivered => Some("新密钥已安全存入保管库，能写入时会自动写入。"),
        Topic::ForeignKey => Some("渠道保持原样，凭据仍会照常刷新。"),
        Topic::ConfigRejected => {
            Some("sidecar 继续使用上一份正确的配置。用 `one-api-sidecar check` 查看所有问题及其位置。")
        }
        Topic::NotifierTrouble => Some("要发给它的消息会保留，恢复后合并发出。"),
        Topic::Halted
        | Topic::VaultTrouble
        | Topic::ChannelMissing
        | Topic::Flapping
        | Topic::UnusedDatabase
        | Topic::Recovered
        | Topic::Reenabled
        | Topic::Refreshed
        | Topic::Started => None,
    }
}

fn channel(channel: &ChannelName) -> String {
    let name = channel.further_name().map(|name| format!("（{name}）")).unwrap_or_default();
    format!("渠道 {}{name}", channel.address())
}
