"""What people type to find a node, and the node of this pack that they should see first."""

# Words that are in the node's name, which every ComfyUI looks at; and others, which only newer ones find, by the aliases.
WORDS = {
    "en": {
        "MagicBokehLensBlur": (
            ["bokeh", "depth of field", "lens"],
            ["blur background", "background blur", "tilt shift", "miniature", "dof", "swirly bokeh", "donut bokeh"],
        ),
        "MagicBokehDefocusMap": (["focus"], ["autofocus"]),
        "MagicBokehCamera": (["camera", "f-stop", "focal length"], ["f-number", "aperture in f-stops", "hyperfocal distance"]),
        "MagicBokehPortraitPhoto": (["portrait"], ["portrait mode"]),
        "MagicBokehMatteFromDisparity": ([], ["matting", "alpha matte", "hair mask", "trimap", "cut out subject"]),
        "MagicBokehSteadyDisparity": ([], ["depth flicker", "deflicker depth", "temporal consistency"]),
        "MagicBokehDisparityTouchUp": ([], ["touch up depth", "edit depth map", "fix depth", "paint depth", "depth brush"]),
        "MagicBokehDisparityByHand": ([], ["depth by hand", "manual depth", "draw depth", "ground plane", "horizon line"]),
        "MagicBokehFocusTrack": ([], ["follow focus", "focus tracking", "focus keyframes"]),
        "MagicBokehSampler": ([], ["refocus"]),
    },
    "zh": {
        "MagicBokehLensBlur": (["虚化", "背景虚化", "景深", "散景", "镜头"], ["移轴", "微缩", "旋焦"]),
        "MagicBokehDefocusMap": (["对焦"], ["焦点"]),
        "MagicBokehCamera": (["相机", "光圈值", "焦距"], ["超焦距"]),
        "MagicBokehPortraitPhoto": (["人像模式"], []),
        "MagicBokehMatteFromDisparity": (["抠图"], ["抠像", "发丝遮罩", "三分图"]),
        "MagicBokehSteadyDisparity": ([], ["深度闪烁", "去闪烁"]),
        "MagicBokehDisparityTouchUp": ([], ["修正深度图", "深度修补", "绘制深度"]),
        "MagicBokehDisparityByHand": ([], ["手动深度", "地平线", "绘画深度"]),
        "MagicBokehFocusTrack": (["跟焦"], ["焦点跟踪", "对焦关键帧"]),
        "MagicBokehSampler": ([], ["重新对焦"]),
    },
    "ja": {
        "MagicBokehLensBlur": (["ボケ", "背景ぼかし", "被写界深度", "レンズ"], ["チルトシフト", "ミニチュア", "ぐるぐるボケ"]),
        "MagicBokehDefocusMap": (["ピント"], []),
        "MagicBokehCamera": (["カメラ", "焦点距離"], ["過焦点距離"]),
        "MagicBokehPortraitPhoto": (["ポートレート"], []),
        "MagicBokehMatteFromDisparity": ([], ["マッティング", "髪の毛マスク", "切り抜き", "トライマップ"]),
        "MagicBokehSteadyDisparity": ([], ["深度のちらつき", "ちらつき除去"]),
        "MagicBokehDisparityTouchUp": ([], ["深度の修正", "デプス編集", "深度を塗る"]),
        "MagicBokehDisparityByHand": ([], ["手動の深度", "地平線", "絵画の深度"]),
        "MagicBokehFocusTrack": (["ピント追従"], ["フォローフォーカス", "フォーカストラッキング"]),
        "MagicBokehSampler": ([], ["リフォーカス"]),
    },
}
