//! What `doctor` says in Chinese.

use crate::messages::DoctorWords;

pub(super) const WORDS: DoctorWords = DoctorWords {
    topics: ["配置", "机密", "保管库", "网关", "令牌端点", "本机", "通知"],
    comma: "，",
    would_work_but: "可以正常工作。标有 {mark} 的各行值得看一看。",
    config: "{credentials} 个凭据、{gateways} 个网关、{notifiers} 个通知方式",
    secret: "{source} 已找到",
    seed_not_needed: "{source} 未找到，但并不需要：保管库中有刷新令牌",
    agent_answers: "代理正在运行（{holder}），应答正常",
    vault_to_come: "尚不存在，首次启动时创建",
    sealed: "已加密",
    plain: "未加密",
    records: "{} 条记录",
    gateway: "{path} 是 {kind} 的数据库，可以写入，有 {channels} 个渠道",
    channel: "存在（{name}，类型 {type}）",
    endpoint: "可以连接 {host}；未发送任何内容",
    clock: "时钟与 {host} 一致",
    clock_unknown: "无法核对时钟：没有令牌端点给出时间",
    inotify: "配置的修改会立即生效",
    keyring: "密钥环应答正常",
    notifier: "可以连接；未发送任何内容",
    notifier_took: "上一条消息已送达（{ago}）",
    notifier_skipped: "未检查：缺少它的机密",
    notify_test: "用 `one-api-sidecar notify test` 可以逐个发送一条测试消息",
};
