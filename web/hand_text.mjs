// The words of the view of Disparity By Hand, beside those that all views share.

const ENGLISH = {
  label: "Photo with lines of ground, horizon and walls. Drag the handles; keys 1 to 6 choose one, arrow keys move it: 1 vanishing point on the horizon, 2 tilt, 3 near end, 4 wall at the back, 5 on the left, 6 on the right.",
  lines: "Photo",
  room: "Depth",
  titles: { lines: "The photo with the lines", room: "Ground and walls as the node makes them; white is near" },
  noPicture: "Run once to see the picture",
};

const CHINESE = {
  label: "带有地面、地平线和墙线的照片。拖动手柄；1 到 6 键选择手柄，方向键移动它：1 地平线上的灭点，2 倾斜，3 近端，4 后墙，5 左墙，6 右墙。",
  lines: "照片",
  room: "深度",
  titles: { lines: "带线条的照片", room: "节点所做的地面和墙；白色为近" },
  noPicture: "运行一次即可看到图像",
};

const JAPANESE = {
  label: "地面、地平線、壁の線を重ねた写真。ハンドルをドラッグします。1〜6 のキーでハンドルを選び、矢印キーで動かします: 1 地平線上の消失点、2 傾き、3 手前の端、4 奥の壁、5 左の壁、6 右の壁。",
  lines: "写真",
  room: "深度",
  titles: { lines: "線を重ねた写真", room: "ノードが作る地面と壁。白いほど近い" },
  noPicture: "一度実行すると画像が表示されます",
};

export function handTextFor(language) {
  return { zh: CHINESE, ja: JAPANESE }[language] ?? ENGLISH;
}
