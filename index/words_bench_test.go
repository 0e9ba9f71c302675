package index

import (
	"context"
	"fmt"
	"math/rand/v2"
	"strings"
	"testing"
	"time"
)

// benchText is what an invented case says: about 60 words or characters, half of the cases in Chinese.
func benchText(rng *rand.Rand, i int) Text {
	pick := func(from string, n int) string {
		words := strings.Fields(from)
		var out []string
		for range n {
			// Squared: a few words are much more common than the rest.
			r := rng.Float64()
			out = append(out, words[int(r*r*float64(len(words)))])
		}
		return strings.Join(out, " ")
	}
	const (
		surnames = "王 李 张 刘 陈 杨 黄 赵 吴 周 徐 孙 马 朱 胡 郭 何 高 林 罗"
		given    = "明 伟 芳 娜 敏 静 丽 强 磊 军 洋 勇 艳 杰 娟 涛 超 秀英 霞 平 刚 桂英 小红 小宝 子涵 雨桐"
		pinyin   = "Wang Li Zhang Liu Chen Yang Huang Zhao Wu Zhou Xiaoming Wei Fang Na Min Jing Li Qiang Lei Jun Yang Yong Yan Jie"
		places   = "四川省成都市 云南省昆明市 广东省广州市 河南省郑州市 贵州省贵阳市 湖南省长沙市 福建省厦门市 火车站 菜市场 幼儿园门口"
		marks    = "左臂 右臂 胎记 伤疤 黑痣 额头 耳后 红色 烫伤 内侧 手背 六指 虎牙 酒窝 左腿 右腿"
		notes    = "失踪时 穿着 蓝色 外套 会说 四川话 普通话 记得 父亲 开货车 家里 有 一条 河 门前 大树 弟弟 妹妹 奶奶 被 陌生人 带走"
		english  = "birthmark left arm right scar mole forehead ear red burn inner hand dimple leg blue coat speaks remembers father truck river house tree brother sister grandmother stranger station market school village"
	)
	text := Text{Ref: fmt.Sprintf("R-%d-%06d", 1980+i%45, i), Names: []string{pick(pinyin, 1) + fmt.Sprintf(" name%d", rng.IntN(30000))}}
	if i%2 == 0 {
		text.Names = append(text.Names, pick(surnames, 1)+pick(given, 1))
		text.Place, text.Marks = pick(places, 1)+pick(places, 1), strings.ReplaceAll(pick(marks, 5), " ", "")
		text.Notes = strings.ReplaceAll(pick(notes, 20), " ", "")
		return text
	}
	text.Place, text.Marks, text.Notes = pick("Chengdu Kunming Guangzhou Zhengzhou Guiyang Changsha Xiamen", 1)+" "+pick(english, 1), pick(english, 8), pick(english, 40)
	return text
}

func benchWords(b *testing.B) *Words {
	w, err := NewWords()
	if err != nil {
		b.Fatal(err)
	}
	rng := rand.New(rand.NewPCG(9, 9))
	batch := w.NewBatch()
	for i := range benchCases {
		if err := batch.Replace(context.Background(), fmt.Sprintf("c_%026d", i), benchFacts(i), benchText(rng, i)); err != nil {
			b.Fatal(err)
		}
	}
	if err := batch.Flush(); err != nil {
		b.Fatal(err)
	}
	return w
}

// BenchmarkWordsLoad100k fills an empty index of words with 100,000 cases in batches.
func BenchmarkWordsLoad100k(b *testing.B) {
	for b.Loop() {
		before, began := heap(), time.Now()
		w := benchWords(b)
		b.ReportMetric(benchCases/time.Since(began).Seconds(), "cases/s")
		b.ReportMetric(float64(heap()-before)/benchCases, "B/case")
		if err := w.Close(); err != nil {
			b.Fatal(err)
		}
	}
}

// BenchmarkWordsReplace changes one case after another of 100,000.
func BenchmarkWordsReplace(b *testing.B) {
	w := benchWords(b)
	defer w.Close()
	rng := rand.New(rand.NewPCG(10, 10))
	var took []time.Duration
	for b.Loop() {
		i := rng.IntN(benchCases)
		began := time.Now()
		if err := w.Replace(context.Background(), fmt.Sprintf("c_%026d", i), benchFacts(i), benchText(rng, i)); err != nil {
			b.Fatal(err)
		}
		took = append(took, time.Since(began))
	}
	latencies(b, took)
	b.ReportMetric(float64(len(w.segments)), "segments")
}

// BenchmarkWordsSearch searches 100,000 cases, from rare words to what an adversary would send.
func BenchmarkWordsSearch(b *testing.B) {
	w := benchWords(b)
	defer w.Close()
	ctx := context.Background()
	for _, query := range []string{
		"胎记 左臂 成都", "birthmark left arm", "name123", "张小红", "左臂胎记成都", "nam",
		strings.Repeat("a b c d e ", 20), strings.Repeat("nam ", 50), strings.Repeat("胎记左臂", 50),
	} {
		name := query
		if len(name) > 30 {
			name = fmt.Sprintf("%.20s and %d more", strings.Fields(query)[0], len(query))
		}
		b.Run(name, func(b *testing.B) {
			var took []time.Duration
			var n int
			for b.Loop() {
				began := time.Now()
				if _, err := w.Search(ctx, query, Filter{Gallery: "missing"}, 20, 0); err != nil {
					b.Fatal(err)
				}
				took = append(took, time.Since(began))
				matching, err := w.Matching(ctx, query, Filter{Gallery: "missing"})
				if err != nil {
					b.Fatal(err)
				}
				n = len(matching)
			}
			latencies(b, took)
			b.ReportMetric(float64(n), "matches")
		})
	}
}
