// The words of the focus view, and of what nodes say on their faces.

const ENGLISH = {
  label: "Photo. Click or drag to focus. Arrow keys move the focus, plus and minus change k, 1 to 3 choose the view, Enter gets the depth.",
  photo: "Photo",
  map: "Focus map",
  preview: "Preview",
  depth: "Get depth",
  titles: {
    photo: "The photo as it is",
    map: "Green is in focus, orange in front of it, blue behind",
    preview: "A quick look at the blur; the nodes do it better",
    depth: "Run as far as this node needs, and no further",
  },
  noPhoto: "Connect a photo to image",
  noDepth: "Get depth shows what will be sharp",
  notYet: "Get depth finds this focus",
  needs: "focus_mode {mode} needs a connection to {input}",
  stale: "The photo has changed: Get depth",
  noPreview: "No preview: this browser has no WebGL 2",
  focus: "Focus",
  locked: "focus is connected",
  missing: "{file} is missing. {link}, put it into {folder} and press R.",
  maybeMissing: "The base is Stable Diffusion 2.1-base. If it is not there under another name: {link} ({file}), put it into {folder} and press R.",
  gone: "{file} is missing. Put it into {folder} and press R, or choose another.",
  optional: "Only photos without a depth map of their own need it.",
  download: "Download it",
  modes: { mask: "mask", value: "value", box: "box", "nearest subject": "nearest subject" },
};

const CHINESE = {
  label: "照片。点击或拖动以对焦。方向键移动焦点，加减键改变 k，1 到 3 切换视图，回车获取深度。",
  photo: "照片",
  map: "对焦图",
  preview: "预览",
  depth: "获取深度",
  titles: {
    photo: "原始照片",
    map: "绿色为合焦，橙色在焦点之前，蓝色在焦点之后",
    preview: "快速查看虚化效果；节点的结果更好",
    depth: "只运行此节点所需的部分",
  },
  noPhoto: "请将照片连接到“图像”",
  noDepth: "获取深度后可看到哪里清晰",
  notYet: "获取深度后才能确定焦点",
  needs: "对焦方式“{mode}”需要连接 {input}",
  stale: "照片已更换，请重新获取深度",
  noPreview: "无法预览：此浏览器不支持 WebGL 2",
  focus: "焦点",
  locked: "焦点由连接决定",
  missing: "缺少 {file}。{link}，放入 {folder} 后按 R。",
  maybeMissing: "基础模型为 Stable Diffusion 2.1-base。如果没有以其他名称存放：{link}（{file}），放入 {folder} 后按 R。",
  gone: "缺少 {file}。请放入 {folder} 后按 R，或另选一个文件。",
  optional: "仅当照片自身不带深度图时才需要。",
  download: "请下载",
  modes: { mask: "遮罩", value: "数值", box: "对焦框", "nearest subject": "最近主体" },
};

const JAPANESE = {
  label: "写真。クリックまたはドラッグでピントを合わせます。矢印キーでピントを移動、プラスとマイナスで k を変更、1〜3 で表示を切り替え、Enter で深度を取得します。",
  photo: "写真",
  map: "ピント表示",
  preview: "プレビュー",
  depth: "深度を取得",
  titles: {
    photo: "元の写真",
    map: "緑はピントの合う範囲、橙は手前、青は奥",
    preview: "ボケの簡易表示。ノードの結果のほうが高品質です",
    depth: "このノードに必要なところまで実行します",
  },
  noPhoto: "「画像」に写真を接続してください",
  noDepth: "深度を取得すると、鮮明になる範囲が分かります",
  notYet: "ピントの位置は深度の取得後に決まります",
  needs: "ピントの決め方「{mode}」には {input} への接続が必要です",
  stale: "写真が変わりました。深度を取得し直してください",
  noPreview: "プレビューできません: このブラウザーに WebGL 2 がありません",
  focus: "ピント",
  locked: "ピントは接続で決まります",
  missing: "{file} がありません。{link}し、{folder} に置いて R を押してください。",
  maybeMissing: "ベースは Stable Diffusion 2.1-base です。別の名前で置いていない場合は {link}し（{file}）、{folder} に置いて R を押してください。",
  gone: "{file} がありません。{folder} に置いて R を押すか、別のファイルを選んでください。",
  optional: "写真に深度マップが含まれていない場合だけ必要です。",
  download: "ダウンロード",
  modes: { mask: "マスク", value: "数値", box: "ピント枠", "nearest subject": "最も近い被写体" },
};

/** The words for a language of ComfyUI, such as "zh" or "zh-TW". */
export function textFor(language) {
  const main = String(language ?? "en").split("-")[0];
  return { zh: CHINESE, ja: JAPANESE }[main] ?? ENGLISH;
}
