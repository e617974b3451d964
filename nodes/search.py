"""Words that find a node in ComfyUI's search, in English, Chinese and Japanese.

ComfyUI first lists nodes that have the word in their name or id, then those that have it here; among these the length of a node's
name counts. So a word that several nodes could claim belongs to the one that should come first (docs/languages.md).
"""

_WORDS = {
    "MagicBokehLensBlur": (
        "bokeh, depth of field, shallow depth of field, dof, blur background, background blur, portrait blur, tilt shift, miniature, "
        "lens, fast lens, refocus photo, tilt shift lens, scheimpflug, swirly bokeh, bubble bokeh, donut bokeh, custom bokeh shape, "
        "anamorphic bokeh",
        "虚化, 背景虚化, 背景模糊, 景深, 浅景深, 散景, 光斑, 移轴, 微缩, 镜头, 镜头模糊, 大光圈, 移轴镜头, 旋焦, 肥皂泡焦外, "
        "甜甜圈光斑, 折返镜头, 光斑形状, 变形镜头",
        "ボケ, ぼけ, 背景ボケ, 背景ぼかし, 被写界深度, 玉ボケ, チルトシフト, ミニチュア, ジオラマ, レンズ, レンズぼかし, "
        "ティルトレンズ, ぐるぐるボケ, バブルボケ, リングボケ, ボケの形, アナモルフィック",
    ),
    "MagicBokehSweep": (
        "rack focus, focus pull, pull focus, animate focus, bokeh video, aperture pull",
        "移焦, 拉焦",
        "送りピント, フォーカス送り",
    ),
    "MagicBokehDefocusMap": (
        "focus, focus point, autofocus, click to focus, aperture, circle of confusion",
        "对焦, 自动对焦, 点击对焦, 焦点, 光圈, 弥散圆",
        "ピント, ピント合わせ, 自動焦点, 絞り, 錯乱円",
    ),
    "MagicBokehCamera": (
        "camera, f-stop, f-number, f stop, f number, fstop, focal length, aperture in f-stops, camera settings, focus distance, "
        "sensor size, crop factor, hyperfocal distance, field of view, millimetres",
        "相机, 光圈值, 焦距, 对焦距离, 超焦距, 传感器尺寸, 等效焦距, 视角",
        "カメラ, F値, 焦点距離, 撮影距離, 過焦点距離, センサーサイズ, 35mm換算, 画角",
    ),
    "MagicBokehFocusTrack": (
        "follow focus, focus tracking, track focus, subject tracking, focus keyframes, keyframe focus, video autofocus, focus puller",
        "跟焦, 对焦跟踪, 焦点跟踪, 对焦关键帧, 视频对焦",
        "フォローフォーカス, ピント追従, フォーカストラッキング, ピントのキーフレーム, 動画のピント",
    ),
    "MagicBokehFocusMask": (
        "in focus mask, focus mask, sharp region",
        "清晰区域",
        "合焦領域",
    ),
    "MagicBokehMatteFromDisparity": (
        "matting, alpha matte, hair mask, trimap, guided filter, cut out subject, refine mask edges",
        "抠图, 抠像, 发丝遮罩, 三分图, 导向滤波, 边缘抠图",
        "マッティング, アルファマット, 髪の毛マスク, 切り抜き, トライマップ, ガイデッドフィルタ",
    ),
    "MagicBokehPortraitPhoto": (
        "portrait, portrait mode, phone photo, depth photo, GDepth, HEIC, load image",
        "人像模式, 人像照片, 手机照片",
        "ポートレート, ポートレートモード, スマホ写真",
    ),
    "MagicBokehDisparity": (
        "depth estimation, depth anything, depth map, disparity",
        "深度估计, 深度图, 视差图",
        "深度推定, 深度マップ, デプスマップ, 視差マップ",
    ),
    "MagicBokehDisparityFrom": (
        "depth to disparity, invert depth, normalize depth",
        "反转深度, 深度归一化",
        "深度反転, 深度の正規化",
    ),
    "MagicBokehSteadyDisparity": (
        "depth flicker, deflicker depth, flickering depth, video depth, temporal consistency, stabilize depth, smooth depth over time",
        "深度闪烁, 去闪烁, 视频深度, 时间一致性, 稳定深度",
        "深度のちらつき, ちらつき除去, 動画の深度, 時間的一貫性, 深度の安定化",
    ),
    "MagicBokehDisparityTouchUp": (
        "touch up depth, edit depth map, fix depth, paint depth, depth brush, depth retouching",
        "修改深度, 修正深度图, 深度修补, 绘制深度",
        "深度の修正, デプス編集, 深度を塗る",
    ),
    "MagicBokehDisparityByHand": (
        "draw depth, depth by hand, manual depth, depth without model, ground plane, horizon line, depth of a painting",
        "手工深度, 手动深度, 地平线, 绘画深度, 地平面",
        "手動の深度, 地平線, 絵画の深度, 消失点",
    ),
    "MagicBokehDepthLoader": (
        "load depth, depth anything, DAdepth, depth estimation",
        "加载深度, 深度估计模型",
        "深度推定モデル, デプスモデル",
    ),
    "MagicBokehSampler": (
        "refocus, super resolution, restore photo, upscale photo, denoise photo, one step diffusion",
        "重新对焦, 照片修复, 超分辨率, 去噪",
        "リフォーカス, 写真復元, 超解像, ノイズ除去",
    ),
    "MagicBokehLoader": (
        "bokeh model, load bokeh",
        "加载模型",
        "モデル読み込み",
    ),
    "MagicBokehMaskedAttention": (
        "focus aware attention, attention mask",
        "注意力遮罩",
        "アテンションマスク",
    ),
    "MagicBokehSaveCheckpoint": (
        "merge checkpoint, convert pickle, save bokeh model",
        "合并检查点, 保存模型",
        "チェックポイント統合, モデル保存",
    ),
    "MagicBokehDemoPhoto": (
        "example image, test image, sample photo",
        "示例图像, 测试图像",
        "サンプル画像, テスト画像",
    ),
}

ALIASES = {node_id: ", ".join(rows).split(", ") for node_id, rows in _WORDS.items()}
