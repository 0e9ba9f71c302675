package importer

import (
	"fmt"
	"maps"
	"slices"
	"strings"

	"homeward/registry"
)

// Columns are the names that a manifest's columns have here, those it must have first.
var Columns = []string{"photo", "case", "gallery", "names", "former_names", "aliases", "sex", "born", "born_to", "region", "place", "on", "marks", "notes", "taken"}

// maxHeadings bounds the columns of a manifest.
const maxHeadings = 1000

// needed is how many of Columns a manifest must have.
const needed = 2

// headings are other headings under which each column is known, in small letters.
var headings = map[string][]string{
	"photo":        {"file", "filename", "file name", "image", "picture", "照片", "照片文件", "照片文件名", "照片名称", "照片路径", "文件", "文件名", "图片", "相片"},
	"case":         {"case id", "case_id", "case number", "ref", "reference", "案件", "案件编号", "案号", "案例编号", "编号", "档案编号", "登记编号", "登记号"},
	"gallery":      {"类别", "库", "档案类别", "登记类别"},
	"names":        {"name", "姓名", "名字", "儿童姓名", "孩子姓名"},
	"former_names": {"former name", "曾用名"},
	"aliases":      {"alias", "other names", "别名", "别称", "小名", "乳名"},
	"sex":          {"gender", "性别"},
	"born":         {"birth", "birthday", "date of birth", "date_of_birth", "dob", "出生日期", "出生年月", "出生年月日", "出生时间", "生日"},
	"born_to":      {"最晚出生日期"},
	"region":       {"地区", "地区代码", "行政区划", "辖区"},
	"place":        {"地点", "失踪地点", "失踪地", "走失地点", "被拐地点", "发现地点", "解救地点"},
	"on":           {"date", "日期", "失踪日期", "失踪时间", "走失日期", "走失时间", "被拐日期", "被拐时间", "发现日期", "解救日期"},
	"marks":        {"特征", "体貌特征", "身体特征", "明显特征", "特征描述", "胎记"},
	"notes":        {"备注", "说明"},
	"taken":        {"拍摄日期", "拍摄时间", "拍照日期", "照片日期"},
}

var sexes = map[string]registry.Sex{
	"": registry.SexUnknown, "unknown": registry.SexUnknown, "-": registry.SexUnknown, "n/a": registry.SexUnknown,
	"未知": registry.SexUnknown, "不详": registry.SexUnknown, "不明": registry.SexUnknown,
	"male": registry.Male, "m": registry.Male, "boy": registry.Male, "男": registry.Male, "男性": registry.Male, "男童": registry.Male, "男孩": registry.Male,
	"female": registry.Female, "f": registry.Female, "girl": registry.Female, "女": registry.Female, "女性": registry.Female, "女童": registry.Female, "女孩": registry.Female,
}

var galleries = map[string]registry.Gallery{
	"missing": registry.Missing, "失踪": registry.Missing, "走失": registry.Missing, "被拐": registry.Missing, "失踪儿童": registry.Missing, "被拐儿童": registry.Missing,
	"found": registry.Found, "found child": registry.Found, "被找到": registry.Found, "找到": registry.Found, "已找到": registry.Found, "发现": registry.Found, "被解救": registry.Found, "解救": registry.Found, "获救": registry.Found,
}

// layout says where each column is.
type layout struct {
	at     map[string]int // column → its place in a row
	used   map[string]string
	unused []string // headings that are none of the columns
}

// arrange finds the columns in a heading: as mapped, by their own names, or by a heading that is known.
func arrange(heading []string, mapped map[string]string) (layout, error) {
	l := layout{at: map[string]int{}, used: map[string]string{}}
	if len(heading) > maxHeadings {
		return l, fmt.Errorf("it has %d columns, and at most %d are read: the first line must name the columns; leave out those that are not needed", len(heading), maxHeadings)
	}
	tidy := make([]string, len(heading))
	for i, h := range heading {
		tidy[i] = fold(h)
	}
	taken := map[int]bool{}
	for _, column := range slices.Sorted(maps.Keys(mapped)) {
		i := slices.Index(tidy, fold(mapped[column]))
		if i < 0 {
			return l, fmt.Errorf("--map %s=%s: there is no column of that name; the headings are %s", column, mapped[column], list(heading))
		}
		l.at[column], taken[i] = i, true
	}
	for i, h := range tidy {
		if taken[i] || h == "" {
			continue
		}
		column := known(h)
		other, twice := l.at[column]
		switch {
		case column == "":
			l.unused = append(l.unused, heading[i])
		case twice && mapped[column] != "":
			l.unused = append(l.unused, heading[i])
		case twice:
			return l, fmt.Errorf("the columns %q and %q could both be %s: say which with --map %s=…", heading[other], heading[i], column, column)
		default:
			l.at[column] = i
		}
	}
	for column, i := range l.at {
		l.used[column] = strings.TrimSpace(heading[i])
	}
	for _, column := range Columns[:needed] {
		if _, ok := l.at[column]; !ok {
			return l, fmt.Errorf("column %q is missing: the headings are %s; needed are %s. Say which one it is with --map %s=HEADING",
				column, list(heading), strings.Join(Columns[:needed], " and "), column)
		}
	}
	return l, nil
}

// known is the column that a heading stands for; empty for none.
func known(heading string) string {
	if slices.Contains(Columns, heading) {
		return heading
	}
	for column, hs := range headings {
		if slices.Contains(hs, heading) {
			return column
		}
	}
	return ""
}

func fold(heading string) string { return strings.ToLower(strings.TrimSpace(heading)) }

// list names headings for a message, which stays short.
func list(heading []string) string {
	const most = 30
	var out []string
	for _, h := range heading {
		if h = strings.TrimSpace(h); h == "" {
			continue
		}
		if len(out) == most {
			out = append(out, "…")
			break
		}
		out = append(out, fmt.Sprintf("%.40q", h))
	}
	if out == nil {
		return "empty"
	}
	return strings.Join(out, ", ")
}

// CheckMap refuses a mapping to columns that there are not.
func CheckMap(mapped map[string]string) error {
	for column, heading := range mapped {
		if !slices.Contains(Columns, column) {
			return fmt.Errorf("--map %s=%s: there is no column %q; the columns are %s", column, heading, column, strings.Join(Columns, ", "))
		}
	}
	return nil
}
